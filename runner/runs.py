"""What can be said about a run from its directory, whichever launcher it is with."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.launchers import find_launcher
from runjob.launchers.base import Fetcher, Launcher, read_handle
from runjob.launchers.local import never_started
from runjob.runner.turn import waiting_status
from runjob.runner.verdict import failure_class
from runjob.schemas.errors import RunjobError
from runjob.schemas.json_object import read_object
from runjob.schemas.manifest import steps_in
from runjob.schemas.plan import Plan
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status, created_at


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of `ps`; unknown values are None. `goes_on_from` is the step that a resumed attempt starts from, until
    it has made one of its own; `step` is the same number then. `failure` is the class that `why` tells of one that is
    failed or lost."""

    id: str
    state: str
    attempt: int
    step: int | None
    goes_on_from: int | None
    steps: int | None
    loss: float | None
    launcher: str
    created: float
    updated: float
    message: str
    failure: str | None


def launcher_name(run: RunDir) -> str:
    """The launcher of the newest attempt; a run without a handle was never given to any, so it is this machine's."""
    handle = read_handle(run)
    return handle.launcher if handle is not None else "local"


def known_launcher(run: RunDir) -> str:
    """For eyes: a handle that can't be read leaves it unknown."""
    try:
        return launcher_name(run)
    except RunjobError:
        return "unknown"


def launcher_of(run: RunDir) -> Launcher:
    return find_launcher(launcher_name(run))


def is_elsewhere(run: RunDir) -> bool:
    """Was it given to a place whose checkpoints lie there until they are fetched?"""
    with contextlib.suppress(RunjobError):
        handle = read_handle(run)
        return handle is not None and bool(handle.facts) and isinstance(find_launcher(handle.launcher), Fetcher)
    return False


def state_of(run: RunDir) -> Status:
    """The state now. A run whose status can't be read is lost rather than an error: `ps` must still list the others."""
    try:
        status = run.read_status()
        if status.state not in ALIVE_STATES:
            return status
        handle = read_handle(run)
        if handle is None or not handle.facts:
            return waiting_status(run, status) or never_started(status)
        return find_launcher(handle.launcher).state(run)
    except RunjobError as error:
        newest = max((attempt.number for attempt in run.list_attempts()), default=0)
        return Status(state="lost", attempt=newest, updated=created_at(run.path), message=str(error))


def ended_status(run: RunDir) -> Status | None:
    """What is stored of a run that has ended: nobody else need be asked. None of any other, and where it can't be
    read."""
    with contextlib.suppress(RunjobError):
        status = run.read_status()
        return status if status.state not in ALIVE_STATES else None
    return None


def bring_logs(run: RunDir, attempt: Attempt, status: Status) -> tuple[Path, ...]:
    """The attempt's logs on this machine, with what is new of them where their place can be asked."""
    with contextlib.suppress(RunjobError):
        handle = read_handle(run)
        if handle is not None and handle.facts and status.state != "unreachable":
            return find_launcher(handle.launcher).logs(run, attempt)
    return tuple(attempt.path.glob("*.log"))


def read_progress(run: RunDir) -> Mapping[str, Any]:
    """progress.json, or nothing where it is absent or damaged: it is news, not truth."""
    return read_object(run.progress)


def planned_steps(run: RunDir, progress: Mapping[str, Any]) -> int | None:
    """Steps of the whole run: as rank 0 counted them with the data at hand, else as planned."""
    if isinstance(progress.get("steps"), int):
        return int(progress["steps"])
    with contextlib.suppress(RunjobError):
        return Plan.read(run.plan).steps
    return None


def damaged_files(run: RunDir) -> list[str]:
    """What is damaged of the files by which a run is found and goes on, each with its way on. (What is wrong with
    status.json its state says.)"""
    found = []
    reads: tuple[tuple[Path, Callable[[], object]], ...] = (
        (run.handle, lambda: read_handle(run)),
        (run.plan, lambda: Plan.read(run.plan)),
    )
    for file, read in reads:
        try:
            if file.exists():
                read()
        except RunjobError as error:
            found.append(str(error))
    return found


def summarise(run: RunDir, status: Status) -> Summary:
    progress = read_progress(run)
    steps = planned_steps(run, progress)
    start = None if status.attempt <= 1 or is_of(status.attempt, progress) else starting_step(run, status.attempt)
    if start is not None:
        progress = {"step": start}  # what stands there is an earlier attempt's, or the preparation's
    return Summary(
        id=run.id,
        state=status.state,
        attempt=status.attempt,
        step=step if isinstance(step := progress.get("step"), int) else None,
        goes_on_from=start,
        steps=steps,
        loss=float(loss) if isinstance(loss := progress.get("loss"), int | float) else None,
        launcher=known_launcher(run),
        created=created_at(run.path),
        updated=status.updated,
        message=status.message,
        failure=failure_class(run, status),
    )


def is_of(attempt: int, progress: Mapping[str, Any]) -> bool:
    """Has this attempt trained, by what progress.json says? The preparation of the data is no training; code that was
    frozen before attempts were named there means its own."""
    if not progress or progress.get("stage") == "prepare":
        return False
    return "attempt" not in progress or progress["attempt"] == attempt


def starting_step(run: RunDir, attempt: int) -> int:
    """Where an attempt but the first starts: as `resume` said it, else the newest checkpoint here or on record (an
    attempt that Slurm made by itself, whose checkpoints may lie elsewhere)."""
    order = run.attempt(attempt).path / "resume.json"
    if isinstance(step := read_object(order).get("step"), int):
        return step
    saved = [record["step"] for record in run.read_events("checkpoint")]
    return max([*checkpoint_steps(run), *saved], default=0)


def newest_attempt(run: RunDir) -> Attempt:
    attempts = run.list_attempts()
    if not attempts:
        raise RunjobError(f"{run.id}: it was never started; there is nothing under {run.attempts}")
    return attempts[-1]


def checkpoint_steps(run: RunDir) -> list[int]:
    """Steps of checkpoints whose manifest stands (the last file written); the worker checks their contents."""
    return steps_in(run.checkpoints)


def age(seconds: float) -> str:
    """`42s`, `7m`, `3h`, `2d`.

    >>> age(7 * 60 + 3)
    '7m'
    """
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{letter}"
    return f"{max(int(seconds), 0)}s"


def ago(moment: float) -> str:
    return age(time.time() - moment)
