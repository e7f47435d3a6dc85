"""The training loop. It knows no model and no objective by name, only their order in time: agree, forward and backward,
check, step, log, evaluate, save. Everything that can differ between two jobs comes in as a part."""

import math
import time
from dataclasses import dataclass
from typing import Literal

from runjob.data.stream import StepBatch
from runjob.runner.worker.exchange import CANCEL, GIVEN_UP, Agreement
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.recording import evaluate, log_profile, log_step, report_progress, watch_step
from runjob.runner.worker.saving import notice_save, save, wait_for_save
from runjob.runner.worker.seeds import seed_of
from runjob.schemas.errors import DataError, NumericsError

Outcome = Literal["finished", "preempted", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How training ended: `finished` (with `early_stop` or not), or stopped after saving."""

    outcome: Outcome
    reason: str


def train(parts: Parts) -> Ending:
    """From the state that the parts hold to the end of the run, or to a request to stop."""
    state = parts.state
    if state.step == 0 and parts.job.evaluation.at_start:
        evaluate(parts)
    while state.step < parts.clock.total_steps and not state.stopped_early:
        step = state.step + 1
        parts.profiler.before(step)
        batch = parts.next_batch(step)
        agreed = parts.agree(batch)
        if agreed.stop:
            return stop(parts, agreed)
        began = time.perf_counter()
        loss = forward_backward(parts, batch, agreed, step)
        norm = parts.engine.gradient_norm()
        refuse_non_finite(parts, loss, norm, step)
        learning_rate = parts.learning_rate.rate(step)
        applied = parts.engine.step(learning_rate)
        seconds = time.perf_counter() - began + batch.wait_s
        state.advance(agreed, samples=len(agreed.digests), applied=applied, loss=loss, seconds=seconds)
        if parts.log_due(step):
            log_step(parts, agreed, learning_rate=learning_rate, grad_norm=norm, seconds=seconds, wait_s=batch.wait_s)
        watch_step(parts, grad_norm=norm, seconds=seconds, wait_s=batch.wait_s)
        log_profile(parts, parts.profiler.after(step))
        report_progress(parts, now=False)
        notice_save(parts)
        improved = parts.evaluation_due(step, agreed) and evaluate(parts)
        if improved or parts.save_due(step, agreed):
            save(parts)
        if parts.stop_after_reached(step):
            return stop_after(parts)
    wait_for_save(parts)
    return Ending(outcome="finished", reason="early_stop" if state.stopped_early else "all steps done")


def forward_backward(parts: Parts, batch: StepBatch, agreed: Agreement, step: int) -> float:
    """All micro batches of this rank; the mean loss over every predicted token of the step, on all ranks alike."""
    last = len(batch.micro_batches) - 1
    # A masked step of a few short rows may predict nothing: a sum over nothing, and a loss of 0.
    predicted = max(agreed.predicted, 1)
    losses = []
    with parts.engine.casts_kept():
        for index, micro in enumerate(batch.micro_batches):
            seed = seed_of(parts.job.seed, "dropout", step, micro.first_sample)
            losses.append(
                parts.engine.train_micro_batch(micro, predicted_in_step=predicted, last=index == last, seed=seed)
            )
    # Read when all are queued: a GPU would run dry after each micro batch
    return sum(parts.exchange.after(sum(map(float, losses)))) / predicted


def refuse_non_finite(parts: Parts, loss: float, norm: float, step: int) -> None:
    """Before the optimiser step: weights and moments of the last good step stay as they are on disk and in memory."""
    if math.isfinite(loss) and (math.isfinite(norm) or parts.engine.loss_scale() is not None):
        return
    first = parts.engine.first_non_finite_gradient()
    raise NumericsError(
        f"step {step}: loss {loss}, gradient norm {norm} before the optimiser step; first in the gradient of {first}; "
        f"samples {(step - 1) * parts.plan.batch.global_batch} to {step * parts.plan.batch.global_batch - 1}; "
        "nothing was updated: lower training.learning_rate, lengthen the warm-up, or resume --from an earlier step"
    )


def stop(parts: Parts, agreed: Agreement) -> Ending:
    """All ranks are here at the same step: save, and say why."""
    outcome: Outcome = "cancelled" if agreed.stop == CANCEL else "preempted"
    save(parts)
    wait_for_save(parts)
    report_progress(parts, now=True)
    if agreed.stop == GIVEN_UP:
        return stop_without_data(parts)
    parts.journal.log("preempt", step=parts.state.step, reason=outcome)
    return Ending(outcome=outcome, reason=f"asked to stop at step {parts.state.step}")


def stop_without_data(parts: Parts) -> Ending:
    """A stream that broke off may go on another day, so the job is preempted; one that changed never does."""
    assert parts.feed is not None
    why = parts.feed.why()
    if not why.broken_off:
        raise DataError(str(why))
    parts.journal.log("preempt", step=parts.state.step, reason="stream", error=str(why))
    return Ending(outcome="preempted", reason=str(why))


def stop_after(parts: Parts) -> Ending:
    save(parts)
    wait_for_save(parts)
    report_progress(parts, now=True)
    parts.journal.log("preempt", step=parts.state.step, reason="stop_after")
    return Ending(outcome="preempted", reason=f"training.stop_after: {parts.job.training.stop_after}")
