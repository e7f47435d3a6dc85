"""The thread that makes a checkpoint of a snapshot while training goes on: files, manifest, rename, LATEST, and then
old ones go.

One at a time. It is given copies and the counters as they were, talks to no other rank, and what takes long in it lets
go of the interpreter's lock: writing, fsync, sha256. What it can't do (the disk is full) is raised where its result is
asked for, and the loop asks after every step.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from safetensors import SafetensorError

from runjob.runner.worker.checkpoint import Writer, prune, remove_half_written
from runjob.runner.worker.faults import fault_point
from runjob.runner.worker.optimizer_state import NamedState
from runjob.runner.worker.state import TrainingState
from runjob.schemas.errors import CheckpointError
from runjob.schemas.run import RunDir


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a checkpoint holds, as it was after a step; `stalled_s` is how long the loop stood still for it."""

    tensors: tuple[NamedState, ...]
    state: TrainingState
    identity: dict[str, Any]
    optimizer: dict[str, Any]
    keep: int | Literal["all"]
    stalled_s: float


@contextmanager
def saying_what_failed(run: RunDir, step: int) -> Iterator[None]:
    """A disk that is full, or a folder that is gone, is nobody's bug; what was half-written is taken away again."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        remove_half_written(run, step)
        raise CheckpointError(
            f"{run.checkpoints}: the checkpoint of step {step} can't be written: {error}; those before it are whole. "
            f"Make room if the disk is full, or mend what else it is; then type: runjob resume {run.id}"
        ) from error


def write_checkpoint(run: RunDir, snapshot: Snapshot) -> str:
    writer = Writer(run, snapshot.state.step)
    for tensor in snapshot.tensors:
        writer.add(tensor)
    return writer.finish(snapshot.state, identity=snapshot.identity, optimizer=snapshot.optimizer).name


def remove_old(run: RunDir, snapshot: Snapshot) -> list[str]:
    if snapshot.keep == "all":
        return []
    best = snapshot.state.best
    return prune(run, keep=snapshot.keep, best=best.step if best is not None else None)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A complete checkpoint on disk, and what of older ones was removed for it."""

    step: int
    name: str
    removed: tuple[str, ...]
    stalled_s: float
    written_s: float


class Writing:
    """At most one snapshot at a time on its way to the disk."""

    def __init__(self, run: RunDir, *, sync_journal: Callable[[], None]) -> None:
        self._run = run
        self._sync_journal = sync_journal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._current: Future[Written] | None = None

    def begin(self, snapshot: Snapshot) -> None:
        assert self._current is None, "the last one is waited for first: its tensors lie in the same memory"
        self._current = self._thread.submit(self._write, snapshot)

    def has_ended(self) -> bool:
        """Is there one whose result nobody has asked for, and which would not be waited for?"""
        return self._current is not None and self._current.done()

    def result(self) -> Written | None:
        """Wait for the one that is being written; None if there is none. Raises what it failed of, once."""
        current, self._current = self._current, None
        return None if current is None else current.result()

    def end_quietly(self) -> Written | None:
        """The same for who is about to report another failure: None if this one failed too, and its words go to the
        log."""
        current, self._current = self._current, None
        if current is None:
            return None
        wait([current])
        failure = current.exception()
        if failure is not None:
            print(f"the checkpoint that was being written failed too: {failure}", flush=True)
            return None
        return current.result()

    def _write(self, snapshot: Snapshot) -> Written:
        began = time.perf_counter()
        fault_point("checkpoint-begun", step=snapshot.state.step)
        with saying_what_failed(self._run, snapshot.state.step):
            self._sync_journal()
            name = write_checkpoint(self._run, snapshot)
            removed = remove_old(self._run, snapshot)
        return Written(
            step=snapshot.state.step,
            name=name,
            removed=tuple(removed),
            stalled_s=snapshot.stalled_s,
            written_s=time.perf_counter() - began,
        )
