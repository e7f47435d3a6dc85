"""What the loop says of itself, and what an evaluation changes: train and eval records, the best step, patience."""

import math
import time

from runjob.data.batches import batch_digest
from runjob.runner.worker.advice import Step, Told, above_guessing
from runjob.runner.worker.evaluate import measured, note_best, out_of_patience
from runjob.runner.worker.exchange import Agreement
from runjob.runner.worker.label_metrics import Confusion
from runjob.runner.worker.memory import answering_memory, peak_memory
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.profiling import Profiled
from runjob.runner.worker.pulse import Doing
from runjob.schemas.errors import NumericsError
from runjob.schemas.job import watched_metrics


def log_step(
    parts: Parts, agreed: Agreement, *, learning_rate: float, grad_norm: float, seconds: float, wait_s: float
) -> None:
    """One `train` record, and progress.json with it."""
    state = parts.state
    rates = parts.rates(agreed, seconds)
    parts.journal.log(
        "train",
        step=state.step,
        loss=state.last_train_loss,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        tokens=state.tokens,
        predicted=agreed.predicted,
        samples=state.samples,
        batch=batch_digest(agreed.digests),
        **rates,
        data_wait=wait_s / seconds,
        memory=peak_memory(),
    )


def watch_step(parts: Parts, *, grad_norm: float, seconds: float, wait_s: float, forward_s: tuple[float, ...]) -> None:
    """What this step adds to the signs of advice.py."""
    state = parts.state
    assert state.last_train_loss is not None
    step = Step(
        number=state.step,
        warmup=parts.learning_rate.warmup,
        loss=state.last_train_loss,
        grad_norm=grad_norm,
        clip=parts.job.training.gradient_clipping,
        seconds=seconds,
        wait_s=wait_s,
        forward_s=forward_s if parts.engine.stage < 3 else (),  # where ranks wait for each other in every layer
    )
    advise(parts, state.watch.after_step(step))


def watch_left_out(parts: Parts) -> None:
    """The same of a step that made no update."""
    advise(parts, parts.state.watch.after_any(parts.state.step, warmup=parts.learning_rate.warmup))


def log_profile(parts: Parts, profiled: Profiled | None) -> None:
    if profiled is not None:
        parts.journal.log("profile", step=profiled.last, **profiled.to_event(parts.run.path))


def advise(parts: Parts, told: list[Told]) -> None:
    for one in told:
        parts.journal.log("advice", step=parts.state.step, **one.to_event())


def report_progress(parts: Parts, *, now: bool, doing: Doing = "step") -> None:
    """progress.json: where the run is, for the bar, for `ps`, and for who watches whether it moves; at once where the
    run pauses or ends here. `doing`: what comes now."""
    state = parts.state
    per_step = state.seconds / state.step if state.step else None
    left = parts.clock.total_steps - state.step
    parts.journal.progress(
        stage="train",
        step=state.step,
        steps=parts.clock.total_steps,
        loss=state.last_train_loss,
        now=now,
        eval_loss=state.last_evaluation["loss"] if state.last_evaluation is not None else None,
        tokens_per_s=state.tokens / state.seconds if state.seconds else None,
        eta_s=per_step * left if per_step is not None else None,
        hung_after_s=parts.pulse.hung_after_s(doing),
    )


def evaluate(parts: Parts) -> bool:
    """One `eval` record; true if it is the best so far by the job's metric. Step 0 is measured and never the best: no
    checkpoint of untrained weights is kept."""
    state, rules = parts.state, parts.job.evaluation
    ranks = parts.plan.batch.ranks
    report_progress(parts, now=True, doing="evaluation")
    began = time.perf_counter()
    with answering_memory(parts.job, run_id=parts.run.id, ranks=ranks, where="evaluation"):
        confusions: list[Confusion] = []
        metrics = parts.evaluator.run(
            parts.engine,
            moved=lambda: report_progress(parts, now=False, doing="evaluation"),
            confused=confusions.append,
        )
    parts.pulse.took("evaluation", time.perf_counter() - began)
    if not math.isfinite(measured(metrics, "loss")):
        raise NumericsError(
            f"evaluation at step {state.step}: the loss is {metrics['loss']}; the weights hold NaN or Inf, or the "
            "network overflows: train with a lower learning_rate, or in bf16 instead of fp16"
        )
    for metric in watched_metrics(rules).values():
        measured(metrics, metric)
    state.last_evaluation = metrics
    parts.journal.log("eval", step=state.step, **metrics)
    for confusion in confusions:
        parts.journal.log("confusion", step=state.step, labels=confusion.labels, tokens=confusion.tokens)
    advise(parts, state.watch.after_evaluation(measured(metrics, "loss")))
    parts.evaluation_cadence.restart()
    report_progress(parts, now=True)
    if state.step == 0:
        advise(parts, above_guessing(measured(metrics, "loss"), classes=parts.classes))
        return False
    improved = rules.best is not None and note_best(state, rules.best, metrics)
    if rules.early_stopping is not None and out_of_patience(state, rules.early_stopping, metrics, parts.clock):
        state.stopped_early = True
        since = state.patience
        metric = rules.early_stopping.metric
        parts.journal.log("early_stop", step=state.step, metric=metric, best_value=since.value, best_step=since.step)
    return improved or state.stopped_early
