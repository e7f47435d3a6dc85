"""What counting pairs of characters reaches on the very places that the evaluation of a character model hides.

The model is a chain: each character depends on the one before it alone, by the interpolated Kneser-Ney bigrams of
baseline.py over the training documents. What is hidden is then told as well as a chain can tell it, from what is
visible on both sides and through gaps of any length: the chances of all ways to fill a gap, summed by the
forward-backward algorithm. A network that ends below it has learnt more than pairs.

    visible g o ? ? l e     P(x | left) from the front, P(right | x) from the back, their product over its sum

Every predicted place counts as hidden, also one that the network sees replaced or kept; the marks at a row's ends
count as the ends of a document. Classes are those of the head: characters beyond its table are one. The commonest
characters of training have a state each; all others share one, and their chance is spread evenly over their classes.
"""

import math
from collections.abc import Iterator

import numpy as np

from runjob.data.characters import PRIVATE, SEP
from runjob.data.corruptions import IGNORED
from runjob.data.rows import Row, Rows
from runjob.data.store import Side
from runjob.runner.worker.baseline import Array, BaselineReport, BigramCounts, discounts, probabilities
from runjob.runner.worker.metrics import perplexity
from runjob.schemas.errors import DataError

METHOD = "character bigram chain, both sides (interpolated Kneser-Ney)"
# States of the chain: more would cost their square, and a character that is not among the thousand commonest of a
# corpus is seldom hidden. State 0 is the end of a document, the last one all other characters.
ALPHABET = 1024
ROWS_AT_ONCE = 128
COUNTED_AT_ONCE = 1 << 22


def character_bigram(train: Side, validation: Rows, *, table: int) -> BaselineReport:
    """Loss at the hidden places of the validation rows, of which a head of `table` classes asks."""
    chain = Chain(train, table=table)
    nats: list[float] = []
    for rows in _batches(validation):
        nats.extend(chain.losses(rows))
    if not nats:
        raise DataError("evaluation.baseline: nothing is hidden in the whole validation side; write null")
    loss = math.fsum(nats) / len(nats)
    return BaselineReport(
        method=METHOD,
        loss=loss,
        perplexity=perplexity(loss),
        discounts=chain.discounts,
        train_tokens=train.summary.predicted,
        predicted=len(nats),
    )


class Chain:
    """States, the chance of each after each, and how many classes share the last one."""

    def __init__(self, train: Side, *, table: int) -> None:
        if not train.summary.documents:
            raise DataError("evaluation.baseline: there are no training documents to count")
        self._table = table
        self._states = self._number(train)
        self.size = int(self._states.max()) + 1
        self.after, self.discounts = self._count_pairs(train)
        self._spread = math.log(np.count_nonzero(self._states == self.size - 1))

    def losses(self, rows: list[Row]) -> list[float]:
        """Nats of each hidden place, row by row."""
        width = max(len(row.labels) for row in rows)
        states = np.zeros((len(rows), width), dtype=np.int64)  # what follows a shorter row's end is one more end
        hidden = np.zeros((len(rows), width), dtype=np.bool_)
        targets = np.zeros((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            length = len(row.labels)
            asked = row.labels != IGNORED
            states[number, :length] = self._of(np.where(asked, SEP, row.input_ids))
            targets[number, :length] = self._of(np.where(asked, row.labels, SEP))
            hidden[number, :length] = asked
        chances = self._chances(states, hidden)
        row_numbers, places = np.nonzero(hidden)
        found = targets[row_numbers, places]
        nats = -np.log(chances[row_numbers, places, found]) + np.where(found == self.size - 1, self._spread, 0.0)
        return [float(one) for one in nats]

    def _chances(self, states: Array, hidden: Array) -> Array:
        """Of each state at each hidden place, given all that is visible in its row."""
        rows, width = states.shape
        one_hot = np.eye(self.size)
        ahead = np.zeros((rows, width, self.size))
        now = one_hot[np.zeros(rows, dtype=np.int64)]
        for place in range(width):
            ahead[:, place] = now @ self.after
            now = np.where(hidden[:, place, None], ahead[:, place], one_hot[states[:, place]])
        behind = np.ones((rows, self.size))
        for place in reversed(range(width)):
            ahead[:, place] *= behind
            ahead[:, place] /= ahead[:, place].sum(1, keepdims=True)
            here = np.where(hidden[:, place, None], behind, one_hot[states[:, place]])
            behind = here @ self.after.T
            behind /= behind.max(1, keepdims=True)  # only the proportions matter, and powers of small numbers vanish
        return ahead

    def _of(self, characters: Array) -> Array:
        found: Array = self._states[self._classes(characters)]
        return found

    def _classes(self, characters: Array) -> Array:
        """Of the head, and one more for the marks that end a document."""
        classes: Array = np.where(characters < self._table, characters, 0)
        return np.where((characters >= PRIVATE.start) & (characters < PRIVATE.stop), self._table, classes)

    def _number(self, train: Side) -> Array:
        """The state of each class."""
        counts = np.zeros(self._table + 1, dtype=np.int64)
        for block in _blocks(train):
            counts += np.bincount(self._classes(block), minlength=self._table + 1)
        counts[self._table] = 0
        commonest = np.argsort(-counts, kind="stable")[: ALPHABET - 2]
        # one class at least is left for the last state
        commonest = np.sort(commonest[counts[commonest] > 0])[: self._table - 1]
        states = np.full(self._table + 1, len(commonest) + 1, dtype=np.int64)
        states[commonest] = 1 + np.arange(len(commonest))
        states[self._table] = 0
        return states

    def _count_pairs(self, train: Side) -> tuple[Array, tuple[float, float]]:
        """The chance of each state after each, and the discounts."""
        pairs = np.zeros(self.size**2, dtype=np.int64)
        for block in _blocks(train):
            states = self._of(block)
            pairs += np.bincount(states[:-1] * self.size + states[1:], minlength=self.size**2)
        seen = pairs.reshape(self.size, self.size) > 0
        counts = BigramCounts(
            history=pairs.reshape(seen.shape).sum(1),
            followers=seen.sum(1),
            predecessors=seen.sum(0),
            once=int(np.count_nonzero(pairs == 1)),
            twice=int(np.count_nonzero(pairs == 2)),
            wanted=pairs,
        )
        before, after = np.divmod(np.arange(self.size**2), self.size)
        return probabilities(counts, before, after, pairs).reshape(seen.shape), discounts(counts)


def _blocks(side: Side) -> Iterator[Array]:
    """The tokens of a side; neighbouring blocks share one, so that every pair is in one of them."""
    for start in range(0, side.summary.tokens - 1, COUNTED_AT_ONCE):
        yield np.asarray(side.read(start, start + COUNTED_AT_ONCE + 1)).astype(np.int64)


def _batches(rows: Rows) -> Iterator[list[Row]]:
    """The rows of an evaluation, those of similar length together."""
    order = np.argsort(rows.lengths(np.arange(len(rows))), kind="stable").tolist()
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield [rows.row(number, position=None) for number in order[start : start + ROWS_AT_ONCE]]
