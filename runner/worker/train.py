"""The training loop. It knows no model and no objective by name, only their order in time: agree, forward and backward,
check, step, log, evaluate, save. Everything that can differ between two jobs comes in as a part."""

import time
from dataclasses import dataclass
from typing import Literal

from runjob.data.stream import StepBatch
from runjob.runner.worker.bad_step_actions import answer, pass_by, refuse_overflows
from runjob.runner.worker.bad_steps import judge
from runjob.runner.worker.exchange import CANCEL, GIVEN_UP, Agreement
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.recording import evaluate, log_profile, log_step, report_progress, watch_step
from runjob.runner.worker.saving import notice_save, save, save_to_disk
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
    report_progress(parts, now=True)  # from here on a hang is seen
    if parts.state.step == 0 and parts.job.evaluation.at_start:
        evaluate(parts)
    while parts.state.step < parts.clock.total_steps and not parts.state.stopped_early:
        step = parts.state.step + 1
        parts.profiler.before(step)
        batch = parts.next_batch(step)
        agreed = parts.agree(batch)
        if agreed.stop:
            return stop(parts, agreed)
        if parts.state.bad_steps.passes_by(step):
            pass_by(parts, agreed)
        elif not train_step(parts, batch, agreed, step):
            continue  # from an earlier step
        log_profile(parts, parts.profiler.after(step))
        report_progress(parts, now=False)
        notice_save(parts)
        improved = parts.evaluation_due(step, agreed) and evaluate(parts)
        if improved or parts.save_due(step, agreed):
            save(parts)
        if parts.stop_after_reached(step):
            return stop_after(parts)
    save_to_disk(parts)
    if parts.state.last_train_loss is None:
        raise NumericsError(f"none of the {parts.state.step} steps could be made: the `skip` events say why")
    return Ending(outcome="finished", reason="early_stop" if parts.state.stopped_early else "all steps done")


def train_step(parts: Parts, batch: StepBatch, agreed: Agreement, step: int) -> bool:
    """Compute, and update if all is well. False where the run went back to a checkpoint instead."""
    began = time.perf_counter()
    loss, forward_s = forward_backward(parts, batch, agreed, step)
    norm = parts.engine.gradient_norm()
    rules, memory = parts.job.training.on_bad_step, parts.state.bad_steps
    bad = judge(rules, memory, loss=loss, norm=norm, scaled=parts.engine.loss_scale() is not None)
    if bad is not None:
        return answer(parts, bad, agreed, loss=loss, norm=norm, seconds=time.perf_counter() - began + batch.wait_s)
    refuse_overflows(parts.engine, memory, step=step, norm=norm, most=rules.overflows_in_a_row)
    learning_rate = parts.learning_rate.rate(step)
    applied = parts.engine.step(learning_rate)
    seconds = time.perf_counter() - began + batch.wait_s
    memory.note_good(loss, rules, applied=applied)
    parts.state.advance(agreed, applied=applied, loss=loss, seconds=seconds)
    parts.pulse.beat(seconds)
    if parts.log_due(step):
        log_step(parts, agreed, learning_rate=learning_rate, grad_norm=norm, seconds=seconds, wait_s=batch.wait_s)
    watch_step(parts, grad_norm=norm, seconds=seconds, wait_s=batch.wait_s, forward_s=forward_s)
    return True


def forward_backward(parts: Parts, batch: StepBatch, agreed: Agreement, step: int) -> tuple[float, tuple[float, ...]]:
    """All micro batches of this rank; the mean loss over every predicted token of the step, and how long each rank's
    forward passes took, on all ranks alike."""
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
    mine = sum(map(float, losses))
    sums, forward_s = parts.exchange.after(mine, seconds=parts.engine.forward_seconds())
    return sum(sums) / predicted, forward_s


def stop(parts: Parts, agreed: Agreement) -> Ending:
    """All ranks are here at the same step: save, and say why."""
    outcome: Outcome = "cancelled" if agreed.stop == CANCEL else "preempted"
    save_to_disk(parts)
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
    save_to_disk(parts)
    parts.journal.log("preempt", step=parts.state.step, reason="stop_after")
    return Ending(outcome="preempted", reason=f"training.stop_after: {parts.job.training.stop_after}")
