"""Saving a checkpoint: every rank feeds, rank 0 writes; then old ones go. Nothing of the training state is touched, so
a run that saves equals a run that never does."""

from runjob.runner.worker.checkpoint import Writer, prune
from runjob.runner.worker.optimizer_state import adam_step, gather
from runjob.runner.worker.parts import Parts


def save(parts: Parts) -> None:
    """A checkpoint of this step, unless it is already on disk or nothing has been trained. Collective."""
    step = parts.state.step
    if step in (0, parts.saved_step):
        return
    engine = parts.engine.deepspeed
    writer = Writer(parts.run, step) if parts.exchange.rank == 0 else None
    for tensor in gather(engine, parts.engine.stage):
        if writer is not None:
            writer.add(tensor)
    if writer is not None:
        optimizer = {"adam_step": adam_step(engine, parts.engine.stage), "loss_scaler": parts.engine.loss_scaler()}
        parts.journal.sync()
        path = writer.finish(parts.state, identity=parts.identity, optimizer=optimizer)
        removed = prune_checkpoints(parts)
        parts.journal.log("checkpoint", step=step, path=path.name, removed=removed)
    parts.saved_step = step
    parts.save_cadence.restart()


def prune_checkpoints(parts: Parts) -> list[str]:
    keep, best = parts.job.training.checkpoint.keep, parts.state.best
    if keep == "all":
        return []
    return prune(parts.run, keep=keep, best=best.step if best is not None else None)
