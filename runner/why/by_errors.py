"""By the types of the errors that ranks, a launcher or the reader of a stream caught, as they wrote them down."""

from typing import Any

from runjob.runner.why.by_signals import by_signal, last_stage
from runjob.runner.why.causes import class_of, name_of
from runjob.runner.why.classes import Evidence, Finding
from runjob.runner.why.traces import Traces
from runjob.schemas.causes import Cause, read_causes
from runjob.schemas.run import Exit


def by_causes(causes: tuple[Cause, ...], source: str) -> Finding | None:
    judged = class_of(causes)
    if judged is None:
        return None
    kind, cause = judged
    said = " from ".join(dict.fromkeys([name_of(causes[0]), name_of(cause)]))
    return Finding(kind=kind, evidence=(Evidence(source=f"{source}, causes", says=said),))


def by_reader(traces: Traces) -> Finding | None:
    """The process that reads a stream: rank 0 passes on what it hears of it, as an error of the data. What stands there
    may be of an earlier attempt, until this one trains."""
    said, stage = traces.exit, last_stage(traces)
    if said is None or said.reason not in ("StreamStopped", "DataError") or stage is None or stage.name != "train":
        return None
    return by_stream(traces) if traces.stream_failure else None


def by_stream(traces: Traces) -> Finding | None:
    failure, source = traces.stream_failure, "stream/failure.json"
    code = failure.get("code", 0)
    if isinstance(code, int) and code < 0:
        return by_signal(traces, code, 0, "the reader of the stream", f"{source}, code")
    if code:  # a bug of the reader's, whose log says more
        return Finding(kind="unknown", evidence=(Evidence(source=source, says=str(failure.get("error", ""))),))
    return by_causes(causes_in(failure), source)


def causes_in(failure: dict[str, Any]) -> tuple[Cause, ...]:
    try:
        return read_causes(failure.get("causes", []))
    except (KeyError, TypeError):  # a file may hold anything
        return ()


def by_words(traces: Traces) -> Finding | None:
    """What ranks caught, but for connections that broke: those most often broke because another rank had ended."""
    found = words_of_ranks(traces)
    return next((one for one in found if one.kind != "network"), None)


def by_broken_connection(traces: Traces) -> Finding | None:
    return next(iter(words_of_ranks(traces)), None)


def words_of_ranks(traces: Traces) -> list[Finding]:
    """The rank that torchrun saw fail first, then the others."""
    roots = [end.rank for end in reversed(traces.ended.ranks)] if traces.ended is not None else []
    order = dict.fromkeys([*(rank for rank in roots if rank in traces.ranks), *traces.ranks])
    found = []
    for rank in order:
        said = traces.ranks[rank]
        source = traces.file("exit.json" if rank == 0 else f"rank-{rank}.json")
        finding = by_causes(said.causes or (named(said),), source) if said.outcome == "failed" else None
        if finding is not None:
            found.append(finding)
    return found


def named(said: Exit) -> Cause:
    """Of an exit.json that lacks causes, since the run's code is older than they are: the class by its name alone."""
    bases = [f"{place}.{said.reason}" for place in ("runjob.schemas.errors", "builtins", "torch")]
    if said.reason == "ModuleNotFoundError":
        bases.append("builtins.ImportError")
    return Cause(type=said.reason, bases=tuple(bases))
