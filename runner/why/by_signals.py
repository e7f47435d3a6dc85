"""By what needs no words: the signal that ended a process, what the kernel counted, the room on the disks; and, where
all of that says nothing, by the last line of a traceback."""

import signal

from runjob.launchers.outcome import describe_end
from runjob.runner.why.causes import class_of
from runjob.runner.why.classes import Class, Evidence, Finding
from runjob.runner.why.last_line import class_of_last_line
from runjob.runner.why.traces import Traces
from runjob.schemas.causes import Cause
from runjob.schemas.ended import Disk, StageEnd

FROM_OUTSIDE = (
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
LIMITS: dict[int, Class] = {signal.SIGXCPU: "time limit", signal.SIGXFSZ: "disk"}
# Not enough for exit.json, which is smaller than a block of any file system
FULL_BYTES = 64 * 1024


def by_signal_of_rank(traces: Traces) -> Finding | None:
    """torchrun ends the ranks that are left by SIGTERM, and the supervisor ends all by whatever they heed."""
    stage = last_stage(traces)
    ends = traces.ended.ranks if traces.ended is not None and stage is not None and not stage.ended_by else ()
    for end in reversed(ends):
        if end.code < 0 and end.code != -signal.SIGTERM:
            return by_signal(traces, end.code, end.pid, f"rank {end.rank}", traces.file("ended.json, ranks"))
    return None


def by_signal_of_stage(traces: Traces) -> Finding | None:
    stage = last_stage(traces)
    if stage is None:
        return None
    source = traces.file("ended.json, stages")
    if stage.errno:
        kind = class_of((Cause(type="builtins.OSError", errno=stage.errno),))
        said = f"stage {stage.name} could not be started: {stage.errno}"
        return Finding(kind=kind[0] if kind else "import", evidence=(Evidence(source=source, says=said),))
    if stage.ended_by:
        return by_own_hand(traces, stage)
    # 128 + n is how a shell, or a container's first process, says that its child had signal n
    code = 128 - stage.code if 128 < stage.code < 128 + signal.NSIG else stage.code
    return by_signal(traces, code, stage.pid, f"stage {stage.name}", source) if code < 0 else None


def by_own_hand(traces: Traces, stage: StageEnd) -> Finding | None:
    """The supervisor ended it. Only one that had been asked to make way, and did not, says why here."""
    if traces.exit is not None or "reason" not in traces.stop:
        return None
    evidence = (
        Evidence(source=traces.file("stop.json"), says=f"asked to stop: {traces.stop['reason']}"),
        Evidence(source=traces.file("ended.json, stages"), says=f"stage {stage.name}: {stage.ended_by}"),
    )
    return Finding(kind="cancelled" if traces.stop["reason"] == "cancel" else "preempted", evidence=evidence)


def by_signal(traces: Traces, code: int, pid: int, who: str, source: str) -> Finding | None:
    evidence = (Evidence(source=source, says=f"{who} {describe_end(code)}"),)
    if -code == signal.SIGKILL and (shown := short_of_memory(traces, pid)) is not None:
        return Finding(kind="memory", evidence=(*evidence, shown))
    if -code in LIMITS:
        return Finding(kind=LIMITS[-code], evidence=evidence)
    if -code == signal.SIGBUS and (full := full_disk(traces)) is not None:
        return Finding(kind="disk", evidence=(*evidence, full))
    return Finding(kind="killed" if -code in FROM_OUTSIDE else "crashed", evidence=evidence)


def short_of_memory(traces: Traces, pid: int) -> Evidence | None:
    """Did the kernel kill for want of memory? Its log knows the process; where that may not be read, it counts."""
    if traces.ended is None:
        return None
    kills = traces.ended.oom_kills
    if kills.pids and pid in kills.pids:
        said = f"the kernel's log names process {pid} as killed for want of memory"
        return Evidence(source=traces.file("ended.json, oom_kills.pids"), says=said)
    if kills.control_group and kills.control_group > 0:
        said = f"the kernel killed {kills.control_group} in this control group for want of memory, in the last minute"
        return Evidence(source=traces.file("ended.json, oom_kills.control_group"), says=said)
    if kills.machine and kills.machine > 0 and not kills.pids:
        said = f"the kernel killed {kills.machine} on this machine for want of memory, in the last minute"
        return Evidence(source=traces.file("ended.json, oom_kills.machine"), says=said)
    return None


def by_full_disk(traces: Traces) -> Finding | None:
    """Nobody could write down how it ended, and there is no room to write."""
    stage, full = last_stage(traces), full_disk(traces)
    if stage is None or stage.code == 0 or traces.exit is not None or full is None:
        return None
    missing = Evidence(source=traces.file("exit.json"), says="was never written")
    return Finding(kind="disk", evidence=(full, missing))


def full_disk(traces: Traces) -> Evidence | None:
    disks = traces.ended.disks if traces.ended is not None else ()
    full = [disk for disk in disks if disk.free_bytes < FULL_BYTES or disk.free_files == 0]
    return Evidence(source=traces.file("ended.json, disks"), says=free_on(full[0])) if full else None


def free_on(disk: Disk) -> str:
    if disk.free_files == 0:
        return f"no further file fits under {disk.path}"
    return f"{disk.free_bytes:,} bytes were free under {disk.path}"


def by_last_line(traces: Traces) -> Finding | None:
    """A traceback that ended the log of a stage that failed and came to say nothing else."""
    stage = last_stage(traces)
    name = stage.name if stage is not None and stage.code > 0 else None
    if name is None or traces.exit is not None:
        return None
    logs = [*sorted(traces.attempt.path.glob("rank-*.log")), traces.attempt.stage_log(name)]
    for log in logs:
        if (found := class_of_last_line(log)) is not None:
            kind, said = found
            return Finding(kind=kind, evidence=(Evidence(source=f"{traces.file(log.name)}, last line", says=said),))
    return None


def last_stage(traces: Traces) -> StageEnd | None:
    return traces.ended.stages[-1] if traces.ended is not None and traces.ended.stages else None
