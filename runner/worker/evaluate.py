"""Evaluation on fixed rows, token-weighted over all ranks: the same rows at every step, so that two losses of a run are
comparable, and the same micro batches for any number of ranks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from runjob.data.batches import IGNORED, MicroBatch
from runjob.data.cut import Limit
from runjob.data.rows import Rows
from runjob.data.stream import EvaluationStream
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.metrics import bits_per_byte, mean_loss, perplexity
from runjob.runner.worker.schedule import Clock
from runjob.runner.worker.state import Best, TrainingState
from runjob.schemas.errors import DataError
from runjob.schemas.job import EarlyStopping


class Network(Protocol):
    """What is evaluated: the engine while it trains, the finished model afterwards."""

    def evaluate(self, micro_batches: Iterable[MicroBatch]) -> float:
        """Summed loss (nats) of this rank's rows, dropout off."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """`token_bytes` by id, where only some tokens are predicted and their bytes are known."""

    rows: Rows
    limit: Limit
    exchange: Exchange
    objective: Literal["clm", "mlm", "char_ar"]
    token_bytes: npt.NDArray[np.int64] | None

    def run(self, network: Network) -> dict[str, float]:
        """`loss` (nats a predicted token) and `perplexity` of the whole side; `bits_per_byte` of its text, or
        `masked_bits_per_byte` of the text that is hidden. Collective."""
        stream = EvaluationStream(self.rows, limit=self.limit, rank=self.exchange.rank, ranks=self.exchange.ranks)
        counted = Counted(stream, self.token_bytes)
        nats = sum(self.exchange.after(network.evaluate(counted)))
        predicted = int(sum(self.exchange.after(float(counted.predicted))))
        if predicted == 0:
            raise DataError(
                "evaluation: nothing is hidden in the whole validation side; it is too short for "
                "objective.probability: raise it, or the share of data.split.validation"
            )
        loss = mean_loss(nats, predicted)
        metrics = {"loss": loss, "perplexity": perplexity(loss)}
        if self.objective == "clm":
            return {**metrics, "bits_per_byte": bits_per_byte(nats, self.rows.bytes)} if self.rows.bytes else metrics
        hidden_bytes = int(sum(self.exchange.after(float(counted.bytes))))
        if hidden_bytes:
            metrics["masked_bits_per_byte"] = bits_per_byte(nats, hidden_bytes)
        return metrics


class Counted:
    """The same micro batches, counting what they predict on the way."""

    def __init__(self, micro_batches: Iterable[MicroBatch], token_bytes: npt.NDArray[np.int64] | None) -> None:
        self.micro_batches = micro_batches
        self.token_bytes = token_bytes
        self.predicted = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[MicroBatch]:
        for micro in self.micro_batches:
            self.predicted += micro.predicted
            if self.token_bytes is not None:
                labels = micro.tensors["labels"].numpy()
                self.bytes += int(self.token_bytes[labels[labels != IGNORED]].sum())
            yield micro


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
