"""Saving a checkpoint: between two steps every rank feeds a copy in rank 0's memory, and a thread of rank 0 writes it
(writing.py) while training goes on. Nothing of the training state is touched, so a run that saves equals a run that
never does. Whoever ends the loop waits until what was saved is on the disk."""

import copy
import time

from runjob.runner.worker.optimizer_state import adam_step, gather
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.recording import report_progress
from runjob.runner.worker.writing import Snapshot, Written


def save(parts: Parts) -> None:
    """A copy of this step, unless there is one already or nothing has been trained; the last one must be on the disk
    first. Collective."""
    step = parts.state.step
    if step in (0, parts.saved_step):
        return
    began = time.perf_counter()
    report_progress(parts, now=True, doing="save")
    wait_for_save(parts)
    engine = parts.engine.deepspeed
    tensors = tuple(gather(engine, parts.engine.stage, parts.copies))
    parts.saved_step = step
    parts.save_cadence.restart()
    parts.pulse.took("save", time.perf_counter() - began)
    report_progress(parts, now=True)
    if parts.exchange.rank != 0:
        return
    snapshot = Snapshot(
        tensors=tensors,
        # the loop goes on counting in its own
        state=copy.deepcopy(parts.state),
        identity=parts.identity,
        optimizer={"adam_step": adam_step(engine, parts.engine.stage), "loss_scaler": parts.engine.loss_scaler()},
        keep=parts.job.training.checkpoint.keep,
        stalled_s=time.perf_counter() - began,
    )
    parts.writing.begin(snapshot)


def save_to_disk(parts: Parts) -> None:
    """The same where the loop ends: nobody goes on before it is a checkpoint."""
    save(parts)
    report_progress(parts, now=True, doing="end")
    wait_for_save(parts)


def notice_save(parts: Parts) -> None:
    """Say that a checkpoint is complete, or fail of what the thread failed of, at the first step's end after it."""
    if parts.writing.has_ended():
        wait_for_save(parts)


def wait_for_save(parts: Parts) -> None:
    """Until what was saved last is a checkpoint, or raise why it can't be."""
    log_written(parts, parts.writing.result())


def wait_for_save_after_failure(parts: Parts) -> None:
    """The loop has failed; what it saved before is as good as ever."""
    log_written(parts, parts.writing.end_quietly())


def log_written(parts: Parts, written: Written | None) -> None:
    if written is not None:
        parts.journal.log(
            "checkpoint",
            step=written.step,
            path=written.name,
            removed=written.removed,
            stalled_s=written.stalled_s,
            written_s=written.written_s,
        )
