"""What becomes of a step that went wrong (bad_steps.py says which do): the job stops, makes no update, or goes back to
its newest checkpoint and passes by the batch when it comes again.

Nothing of a bad step has touched weights or moments yet, so a run that skips equals one whose optimiser was never
asked. What is left out goes through checkpoints and follows from the run alone: a run that is killed and resumed leaves
out the same batches.
"""

import math
import time
from typing import NoReturn

import torch
from torch import distributed

from runjob.data.batches import batch_digest
from runjob.runner.worker.bad_steps import Bad, BadSteps
from runjob.runner.worker.checkpoint import Checkpoint, newest_complete
from runjob.runner.worker.engine import Engine
from runjob.runner.worker.exchange import Agreement
from runjob.runner.worker.optimizer_state import put_back
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.recording import report_progress, watch_left_out
from runjob.runner.worker.saving import wait_for_save
from runjob.schemas.errors import NumericsError


def answer(parts: Parts, bad: Bad, agreed: Agreement, *, loss: float, norm: float, seconds: float) -> bool:
    """What the job wants of a bad step. False where the run went back, and goes on from there."""
    if bad.action == "stop":
        stop_at(parts, bad)
    if bad.action == "skip":
        skip(parts, bad, agreed, loss=loss, norm=norm, seconds=seconds)
        return True
    rewind(parts, bad)
    return False


def refuse_overflows(engine: Engine, memory: BadSteps, *, step: int, norm: float, most: int) -> None:
    """An overflow of fp16 makes DeepSpeed leave out the step and halve its loss scale; NumericsError where that has not
    helped for long, or can't any more."""
    scale = engine.loss_scale()
    if scale is None or math.isfinite(norm):
        return
    if memory.overflows >= most or engine.scale_is_least():
        raise NumericsError(
            f"step {step}: the gradient is beyond fp16's range, as in the {memory.overflows} steps "
            f"before it, at a loss scale of {scale:g}; first in that of {engine.first_non_finite_gradient()}: lower "
            "training.learning_rate, or train in bf16, whose range is that of fp32 "
            f"(training.on_bad_step.overflows_in_a_row is {most})"
        )


def stop_at(parts: Parts, bad: Bad, *, besides: str = "") -> NoReturn:
    """NumericsError. Before the optimiser step: weights and moments of the last good step stay as they are on disk."""
    step, rows = parts.state.step + 1, parts.plan.batch.global_batch
    where = ""
    if bad.kind == "not_finite":
        where = f" before the optimiser step; first in the gradient of {parts.engine.first_non_finite_gradient()}"
    raise NumericsError(
        f"step {step}: {bad.why}{where}; samples {(step - 1) * rows} to {step * rows - 1}; nothing was updated{besides}"
        ": lower training.learning_rate, lengthen the warm-up, resume --from an earlier step, or say in "
        "training.on_bad_step what else to do"
    )


def skip(parts: Parts, bad: Bad, agreed: Agreement, *, loss: float, norm: float, seconds: float) -> None:
    """The batch has had its turn, and nothing is learnt of it."""
    memory, most = parts.state.bad_steps, parts.job.training.on_bad_step.skips_in_a_row
    if memory.skips >= most:
        stop_at(parts, bad, besides=f", as in the {most} steps before it (training.on_bad_step.skips_in_a_row)")
    parts.engine.drop_gradients()
    parts.state.leave_out(agreed, seconds=seconds)
    memory.skips += 1
    log_skip(parts, agreed, reason=bad.kind, why=bad.why, loss=loss, norm=norm)
    watch_left_out(parts)


def pass_by(parts: Parts, agreed: Agreement) -> None:
    """A batch that the run has gone back for: it is not computed again."""
    parts.state.leave_out(agreed, seconds=0.0)
    log_skip(parts, agreed, reason="rewound", why="passed by since the run went back", loss=math.nan, norm=math.nan)
    watch_left_out(parts)


def log_skip(parts: Parts, agreed: Agreement, *, reason: str, why: str, loss: float, norm: float) -> None:
    """In place of a `train` record. JSON has no NaN: what is not finite is null, and stands in `why`."""
    step, rows = parts.state.step, parts.plan.batch.global_batch
    parts.journal.log(
        "skip",
        step=step,
        reason=reason,
        why=why,
        loss=loss if math.isfinite(loss) else None,
        grad_norm=norm if math.isfinite(norm) else None,
        samples=[(step - 1) * rows, step * rows - 1],
        batch=batch_digest(agreed.digests),
    )


def rewind(parts: Parts, bad: Bad) -> None:
    """Weights, moments and counters of the newest complete checkpoint; records beyond it are set aside, as on a resume.
    Collective."""
    rules, before = parts.job.training.on_bad_step, parts.state.bad_steps
    if before.rewinds >= rules.rewinds:
        stop_at(parts, bad, besides=f", and the run went back {rules.rewinds} times already")
    step = parts.state.step + 1
    report_progress(parts, now=True, doing="rewind")
    began = time.perf_counter()
    checkpoint = _newest(parts)
    if checkpoint is None:
        stop_at(parts, bad, besides=", and there is no checkpoint yet to go back to")
    parts.engine.drop_gradients()

    def read(kind: str, name: str) -> torch.Tensor:
        # of nodes that are apart the first alone has the file
        return parts.exchange.from_first(checkpoint.read(kind, name) if parts.exchange.rank == 0 else None)

    put_back(parts.engine.deepspeed, parts.engine.stage, read, step=checkpoint.optimizer["adam_step"])
    parts.engine.restore_loss_scaler(checkpoint.optimizer["loss_scaler"])
    parts.state = checkpoint.state
    parts.state.bad_steps.after_rewind(before, bad=step, to=checkpoint.step, rules=rules)
    parts.saved_step = checkpoint.step
    parts.journal.go_back(checkpoint.step)
    parts.journal.log(
        "rewind",
        step=checkpoint.step,
        checkpoint=checkpoint.path.name,
        bad_step=step,
        reason=bad.kind,
        why=bad.why,
        passed_by=parts.state.bad_steps.passed_by[-1],
    )
    parts.pulse.took("rewind", time.perf_counter() - began)
    report_progress(parts, now=True)


def _newest(parts: Parts) -> Checkpoint | None:
    """The newest complete one as rank 0 finds it, that on its way to the disk included; None if there is none."""
    wait_for_save(parts)
    message: list[Checkpoint | None] = [newest_complete(parts.run)[0] if parts.exchange.rank == 0 else None]
    if parts.exchange.ranks > 1:
        distributed.broadcast_object_list(message, src=0, group=parts.exchange.group)
    return message[0]
