"""The class of an end, by the first rule that is certain. In order: what the place said, the errors that ranks caught,
signals with what the kernel counted, the room on the disks, and only then the last line of a traceback."""

from collections.abc import Callable

from runjob.launchers.outcome import describe_end
from runjob.runner.why.by_errors import by_broken_connection, by_causes, by_reader, by_stream, by_words
from runjob.runner.why.by_signals import by_full_disk, by_last_line, by_signal_of_rank, by_signal_of_stage
from runjob.runner.why.classes import Class, Evidence, Finding
from runjob.runner.why.traces import Traces

# Ends that Slurm gives a job
PLACES: dict[str, Class] = {
    "OUT_OF_MEMORY": "memory",
    "TIMEOUT": "time limit",
    "DEADLINE": "time limit",
    "NODE_FAIL": "lost",
    "BOOT_FAIL": "lost",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}
Rule = Callable[[Traces], Finding | None]


def classify(traces: Traces) -> Finding | None:
    """None for a run that has not ended, or ended as it should."""
    match traces.status.state:
        case "failed":
            rules: tuple[Rule, ...] = FAILED
        case "lost":
            rules = LOST
        case "preempted":
            rules = PREEMPTED
        case "cancelled":
            return Finding(kind="cancelled", evidence=(state_of(traces),))
        case "unreachable":
            return Finding(kind="unreachable", evidence=(state_of(traces),))
        case _:
            return None
    found = next((finding for rule in rules if (finding := rule(traces)) is not None), None)
    return found or Finding(kind="unknown", evidence=())


def state_of(traces: Traces) -> Evidence:
    status = traces.status
    return Evidence(source="status.json", says=f"{status.state}: {status.message}" if status.message else status.state)


def by_place(traces: Traces) -> Finding | None:
    place, source = traces.place, traces.file("place.json")
    if place is None:
        return None
    if place.state in PLACES:
        reason = f", {place.reason}" if place.reason not in ("", "None") else ""
        said = f"{place.launcher} says {place.state}{reason}"
        return Finding(kind=PLACES[place.state], evidence=(Evidence(source=source, says=said),))
    if place.code < 0:
        said = f"the supervisor {describe_end(place.code)}"
        return Finding(kind="killed", evidence=(Evidence(source=source, says=said),))
    return by_causes(place.causes, source)


def as_lost(traces: Traces) -> Finding:
    if traces.supervisor_killed_for_memory:
        said = f"names the supervisor (pid {traces.handle['pid']}) as killed for want of memory"
        return Finding(kind="memory", evidence=(Evidence(source="the kernel's log", says=said),))
    if traces.started_anew:
        said = f"this machine runs since another boot than {traces.handle['boot_id']}"
        return Finding(kind="lost", evidence=(Evidence(source="handle.json, boot_id", says=said),))
    return Finding(kind="lost", evidence=(state_of(traces),))


def as_preempted(traces: Traces) -> Finding:
    event = traces.preempt_event
    reason = event.get("reason", "")
    journal = Evidence(source="events.jsonl, preempt", says=str(reason))
    if reason == "stop_after":
        return Finding(kind="paused", evidence=(journal,))
    if reason == "stream" and not traces.stop:
        return by_stream(traces) or Finding(kind="unknown", evidence=(journal,))
    note = traces.stop.get("note", "")
    asked = Evidence(source=traces.file("stop.json"), says=str(note) or "asked to save and stop")
    return Finding(kind="preempted", evidence=(asked,) if traces.stop else (state_of(traces),))


FAILED: tuple[Rule, ...] = (
    by_place,
    by_reader,
    by_words,
    by_signal_of_rank,
    by_signal_of_stage,
    by_broken_connection,
    by_full_disk,
    by_last_line,
)
LOST: tuple[Rule, ...] = (by_place, by_words, as_lost)
PREEMPTED: tuple[Rule, ...] = (by_place, as_preempted)
