"""Evaluation on fixed rows, token-weighted over all ranks: the same rows at every step, so that two losses of a run are
comparable, and the same micro batches for any number of ranks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from runjob.data.added import Added
from runjob.data.batches import IGNORED, MicroBatch
from runjob.data.beside import Names
from runjob.data.classes import Classes
from runjob.data.cut import Limit
from runjob.data.labels import Tags
from runjob.data.rows import Rows
from runjob.data.stream import EvaluationStream
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.label_metrics import Confusion, tag_metrics
from runjob.runner.worker.metrics import Metrics, bits_per_byte, mean_loss, perplexity
from runjob.runner.worker.models.causal_lm import Nats
from runjob.runner.worker.models.loading import Task
from runjob.runner.worker.retrieval import Retrieval
from runjob.runner.worker.row_metrics import document_metrics, pair_metrics
from runjob.runner.worker.schedule import Clock
from runjob.runner.worker.state import Best, TrainingState
from runjob.schemas.direction import is_better
from runjob.schemas.errors import DataError
from runjob.schemas.job import EarlyStopping
from runjob.schemas.label_rules import OF_CLASSES


def label_metrics(tally: torch.Tensor, tags: Names) -> tuple[Metrics, Confusion]:
    if isinstance(tags, Classes):
        return document_metrics(tally, tags)
    return tag_metrics(tally, tags) if isinstance(tags, Tags) else pair_metrics(tally, tags)


class Network(Protocol):
    """What is evaluated: the engine while it trains, the finished model afterwards."""

    def evaluate(self, micro_batches: Iterable[MicroBatch]) -> Nats:
        """Summed losses of this rank's rows, dropout off."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """`token_bytes` by id, where only some tokens are predicted and their bytes are known; `added` where the
    tokenizer has tokens that somebody added to it; `sources` of a mixture whose losses are to be told apart;
    `others`: the same rows hidden otherwise, by the ending of their metrics; `tags` where something is classified,
    `retrieval` where texts become vectors."""

    rows: Rows
    limit: Limit
    exchange: Exchange
    objective: Task
    token_bytes: npt.NDArray[np.int64] | None
    added: Added | None
    sources: tuple[str, ...]
    others: Mapping[str, Rows] = field(default_factory=dict)
    tags: Names | None = None
    retrieval: Retrieval | None = None

    def run(
        self,
        network: Network,
        *,
        moved: Callable[[], None] = lambda: None,
        confused: Callable[[Confusion], None] = lambda confusion: None,
    ) -> Metrics:
        """`loss` (nats a predicted token) and `perplexity` of the whole side; `bits_per_byte` of its text, or
        `masked_bits_per_byte` of the text that is hidden; what is said of added tokens; loss and perplexity of the
        others; `loss/NAME` of each source; of classes what label_metrics.py and row_metrics.py say, of vectors what
        retrieval.py says. `moved` is called with each micro batch of this rank, `confused` is told which label was
        taken for which. Collective."""
        counted = Counted(self.token_bytes, self.added, moved)
        found, losses = Nats(), Metrics()
        for name, span in self._passes():
            before = counted.predicted
            here = network.evaluate(counted.of(self._stream(self.rows, span)))
            found.join(here)
            if self.sources:
                losses |= self._loss_of(name, here.all, counted.predicted - before)
        nats, predicted = self._over_ranks(found.all), int(self._over_ranks(counted.predicted))
        if predicted == 0 and self.tags is not None:
            raise DataError(
                "evaluation: nothing is asked on the validation side: no row holds what a label stands at; raise "
                "data.sequence_length, or the share of data.split.validation"
            )
        if predicted == 0:
            raise DataError(
                "evaluation: nothing is hidden in the whole validation side; it is too short for "
                "objective.probability: raise it, or the share of data.split.validation"
            )
        loss = mean_loss(nats, predicted)
        metrics: Metrics = {"loss": loss, "perplexity": perplexity(loss), **self._bits(nats, counted)}
        if self.added is not None:
            metrics |= self._rare(self.added, self._over_ranks(found.watched), int(self._over_ranks(counted.watched)))
        if self.tags is not None:
            assert found.tally is not None, "every rank has a micro batch"
            of_labels, confusion = label_metrics(self.exchange.summed(found.tally), self.tags)
            confused(confusion)
            metrics |= of_labels
        if self.retrieval is not None:
            metrics |= self.retrieval.measure(found.found, self.exchange)
        for name, rows in self.others.items():
            metrics |= self._hidden_otherwise(name, rows, network, moved)
        return metrics | losses

    def _passes(self) -> Iterator[tuple[str, range]]:
        """All rows at once, or those of one source after the other: no row runs from one into the next."""
        if not self.sources:
            yield "", range(len(self.rows))
            return
        first = 0
        for name, rows in zip(self.sources, self.rows.sections, strict=False):  # the last may have brought nothing
            yield name, range(first, first + rows)
            first += rows

    def _hidden_otherwise(self, name: str, rows: Rows, network: Network, moved: Callable[[], None]) -> Metrics:
        counted = Counted(None, None, moved)
        found = network.evaluate(counted.of(self._stream(rows, range(len(rows)))))
        nats, predicted = self._over_ranks(found.all), int(self._over_ranks(counted.predicted))
        loss = mean_loss(nats, predicted) if predicted else None
        return {f"loss_{name}": loss, f"perplexity_{name}": None if loss is None else perplexity(loss)}

    def _stream(self, rows: Rows, span: range) -> EvaluationStream:
        rank, ranks = self.exchange.rank, self.exchange.ranks
        return EvaluationStream(rows, span=span, limit=self.limit, rank=rank, ranks=ranks)

    def _loss_of(self, name: str, nats: float, predicted: int) -> Metrics:
        nats, predicted = self._over_ranks(nats), int(self._over_ranks(predicted))
        return {f"loss/{name}": mean_loss(nats, predicted) if predicted else None}

    def _over_ranks(self, mine: float) -> float:
        return sum(self.exchange.after(float(mine), seconds=0.0)[0])

    def _bits(self, nats: float, counted: "Counted") -> Metrics:
        if self.objective == "clm":
            return {"bits_per_byte": bits_per_byte(nats, self.rows.bytes)} if self.rows.bytes else {}
        hidden_bytes = int(self._over_ranks(counted.bytes))
        return {"masked_bits_per_byte": bits_per_byte(nats, hidden_bytes)} if hidden_bytes else {}

    def _rare(self, added: Added, nats: float, predicted: int) -> Metrics:
        """Of the labels that are added tokens alone, each counting as one."""
        found = perplexity(mean_loss(nats, predicted)) if predicted else None
        metrics: Metrics = {"rare_token_perplexity": found, "rare_tokens": predicted}
        return metrics if added.fragmentation is None else {**metrics, "fragmentation": added.fragmentation}


class Counted:
    """Hands micro batches on, counting what they predict on the way and marking what is watched."""

    def __init__(
        self, token_bytes: npt.NDArray[np.int64] | None, added: Added | None, moved: Callable[[], None]
    ) -> None:
        self.moved = moved
        self.token_bytes = token_bytes
        self.added = added
        self.predicted = 0
        self.bytes = 0
        self.watched = 0

    def of(self, micro_batches: Iterable[MicroBatch]) -> Iterator[MicroBatch]:
        for micro in micro_batches:
            self.moved()
            self.predicted += micro.predicted
            labels = micro.tensors["labels"].numpy()
            if self.token_bytes is not None:
                self.bytes += int(self.token_bytes[labels[labels != IGNORED]].sum())
            if self.added is None:
                yield micro
                continue
            watched = self.added.among(labels)
            self.watched += int(watched.sum())
            yield replace(micro, tensors={**micro.tensors, "watched": torch.from_numpy(watched)})


def measured(metrics: Metrics, metric: str) -> float:
    """The metric that a job goes by; DataError where the validation side has nothing to measure it on, which no later
    evaluation would change: all of them hide the same."""
    value = metrics[metric]
    if value is None:
        what = "no added token (data.tokenizer.terms) is predicted"
        if metric in OF_CLASSES:
            what = "no label stands, and none is predicted,"
        raise DataError(
            f"evaluation: {metric} can't be measured: {what} in the validation side; raise the share of "
            "data.split.validation, or write `loss` as the metric"
        )
    return value


def note_best(state: TrainingState, metric: str, metrics: Metrics) -> bool:
    """Remember this evaluation if it is the best so far; true if it is. NaN never is."""
    value = measured(metrics, metric)
    if state.best is None or is_better(metric, value, state.best.value):
        state.best = Best(step=state.step, value=value)
        return True
    return False


def out_of_patience(state: TrainingState, rule: EarlyStopping, metrics: Metrics, clock: Clock) -> bool:
    """Count an evaluation for early stopping; true when for too long the metric has got better by no more than
    min_delta."""
    patience, value = state.patience, measured(metrics, rule.metric)
    if patience.value is None or is_better(rule.metric, value, patience.value, by=rule.min_delta):
        patience.value, patience.step, patience.evaluations = value, state.step, 0
        return False
    patience.evaluations += 1
    if rule.patience.unit == "evaluations":
        return patience.evaluations >= rule.patience.amount
    return state.step - patience.step >= clock.steps(rule.patience)
