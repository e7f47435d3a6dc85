"""Evaluation on fixed rows, token-weighted over all ranks: the same rows at every step, so that two losses of a run are
comparable, and the same micro batches for any number of ranks."""

from dataclasses import dataclass

from runjob.data.cut import Limit
from runjob.data.rows import Rows
from runjob.data.stream import EvaluationStream
from runjob.runner.worker.engine import Engine
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.metrics import bits_per_byte, mean_loss, perplexity
from runjob.runner.worker.schedule import Clock
from runjob.runner.worker.state import Best, TrainingState
from runjob.schemas.job import EarlyStopping


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    rows: Rows
    limit: Limit
    exchange: Exchange

    def run(self, engine: Engine) -> dict[str, float]:
        """`loss` (nats a predicted token), `perplexity`, `bits_per_byte` of the whole validation side. Collective."""
        stream = EvaluationStream(self.rows, limit=self.limit, rank=self.exchange.rank, ranks=self.exchange.ranks)
        nats = sum(self.exchange.after(engine.evaluate(stream)))
        loss = mean_loss(nats, self.rows.predicted)
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "bits_per_byte": bits_per_byte(nats, self.rows.bytes),
        }


def note_best(state: TrainingState, metric: str, metrics: dict[str, float]) -> bool:
    """Remember this evaluation if it is the best so far; true if it is. NaN never is."""
    if state.best is None or metrics[metric] < state.best.value:
        state.best = Best(step=state.step, value=metrics[metric])
        return True
    return False


def out_of_patience(state: TrainingState, rule: EarlyStopping, metrics: dict[str, float], clock: Clock) -> bool:
    """Count an evaluation for early stopping; true when the metric has not fallen by more than min_delta too long."""
    patience, value = state.patience, metrics[rule.metric]
    if patience.value is None or value < patience.value - rule.min_delta:
        patience.value, patience.step, patience.evaluations = value, state.step, 0
        return False
    patience.evaluations += 1
    if rule.patience.unit == "evaluations":
        return patience.evaluations >= rule.patience.amount
    return state.step - patience.step >= clock.steps(rule.patience)
