"""What a run says of itself, once: events.jsonl, and the same numbers to TensorBoard, Weights & Biases and MLflow. Rank
0 alone has a journal; the others have a silent one, so the loop never asks who it is."""

import contextlib
import errno
import json
import os
import time
from io import FileIO
from typing import Any

from runjob.runner.worker.tensorboard import TensorBoard
from runjob.runner.worker.tracking import Tracker, given_so_far
from runjob.runner.worker.tracking_mlflow import MlflowTracker
from runjob.schemas.errors import RunjobError
from runjob.schemas.job import Tracking
from runjob.schemas.run import Attempt, RunDir, parse_event, write_atomic

PROGRESS_EVERY_S = 0.3


class SilentJournal:
    """The journal of every rank but 0."""

    def log(self, event: str, *, step: int, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        pass

    def progress(self, *, now: bool, **values: Any) -> None:  # noqa: ANN401
        pass

    def go_back(self, step: int) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class Journal(SilentJournal):
    """Appends one object a line; a line is written whole or not at all, so a reader sees it or does not."""

    def __init__(self, run: RunDir, attempt: Attempt, *, tracking: Tracking, from_step: int) -> None:
        self.run = run
        self.attempt = attempt
        self.step = max(from_step, 0)
        settings = tracking.wandb
        given = None if settings is None else given_so_far(run)
        discard_beyond(run, attempt, from_step)
        self.file = run.events.open("ab", buffering=0)  # nothing is left in a buffer that a full disk would not take
        self.told = 0.0
        self.trackers: list[TensorBoard | Tracker | MlflowTracker] = []
        if tracking.tensorboard:
            self.trackers.append(TensorBoard(run, from_step))
        if settings is not None and given is not None:
            self.trackers.append(Tracker(settings, run, given=given, say=self._say, step=self.step))
        if tracking.mlflow is not None:
            self.trackers.append(MlflowTracker(tracking.mlflow, run, say=self._say, step=self.step))

    def log(self, event: str, *, step: int, **values: Any) -> None:  # noqa: ANN401
        record = {"event": event, "step": step, "time": time.time(), "attempt": self.attempt.number, **values}
        try:
            append_whole(self.file, json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self.step = step
            for tracker in self.trackers:
                tracker.log(event, step, values)
        except OSError as error:
            raise RunjobError(
                f"{self.run.path}: the records of step {step} can't be written: {error}; checkpoints are whole. Make "
                f"room if the disk is full, or mend what else it is; then type: runjob resume {self.run.id}"
            ) from error

    def progress(self, *, now: bool, **values: Any) -> None:  # noqa: ANN401
        """progress.json: small, rewritten whole; no fsync, it may be lost. Seldom enough for short steps. It is only
        news: a disk that is full ends the run at the next record, in words."""
        if time.monotonic() - self.told < PROGRESS_EVERY_S and not now:
            return
        self.told = time.monotonic()
        beside = self.run.progress.with_name(".progress.json.tmp")
        text = json.dumps(values | {"attempt": self.attempt.number, "updated": time.time()}) + "\n"
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(self.run.progress)
        except OSError:
            with contextlib.suppress(OSError):
                os.utime(self.run.progress)  # whoever watches sees that it moves

    def go_back(self, step: int) -> None:
        """The run goes on from an earlier step: records beyond it leave, as on a resume."""
        for tracker in self.trackers:
            tracker.go_back(self.run, step)
        self.file.close()
        discard_beyond(self.run, self.attempt, step)
        self.file = self.run.events.open("ab", buffering=0)
        self.step = step

    def sync(self) -> None:
        """Before a checkpoint counts, the records up to it are on disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close(self.step)
        self.file.close()

    def _say(self, step: int, text: str) -> None:
        self.log("advice", step=step, name="tracking", advice=text)


def append_whole(file: FileIO, line: bytes) -> None:
    """All of it, or nothing: half of a line is taken back, or the next one would go on in it."""
    size = os.fstat(file.fileno()).st_size
    try:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def discard_beyond(run: RunDir, attempt: Attempt, step: int) -> None:
    """Records past the checkpoint that this attempt starts from move to attempts/N/discarded.jsonl: the steps will be
    trained, and recorded, again. So do `samples` and `finish`: a run has one of each, at its end. Steps only rise in
    this file, but for `checkpoint` and `samples`, which name a step that is over; so it is read from its end, of a
    million steps as much as of ten."""
    if not run.events.exists():
        return
    lines = run.events.read_bytes().splitlines(keepends=True)
    first = len(lines)
    while first and not _ends_what_stays(lines[first - 1], step):
        first -= 1
    leaves = [leaves_at(line, step) for line in lines[first:]]
    if any(leaves):
        beyond = [line for line, left in zip(lines[first:], leaves, strict=True) if left]
        staying = [line for line, left in zip(lines[first:], leaves, strict=True) if not left]
        earlier = attempt.discarded.read_text(encoding="utf-8", errors="replace") if attempt.discarded.exists() else ""
        write_atomic(attempt.discarded, earlier + b"".join(beyond).decode("utf-8", errors="replace"))
        write_atomic(run.events, b"".join([*lines[:first], *staying]).decode("utf-8", errors="replace"))


def _ends_what_stays(line: bytes, step: int) -> bool:
    record = parse_event(line) if line.endswith(b"\n") else None
    return record is not None and record["event"] != "checkpoint" and not is_later(record, step)


def leaves_at(line: bytes, step: int) -> bool:
    """Half a line, and one that is damaged, leave with those of later steps."""
    record = parse_event(line) if line.endswith(b"\n") else None
    return record is None or is_later(record, step)


def is_later(record: dict[str, Any], step: int) -> bool:
    return bool(record["step"] > step or record["event"] in ("samples", "finish"))
