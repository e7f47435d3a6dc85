"""What one rank is fed: rows, their order and the cut joined, and built ahead by one thread.

    store ----> Rows ---------------------------------+
                                                      v
    (seed) ---> Order ---> row numbers of step k ---> micro batches of step k ---> StepBatch ---> the loop
                           positions (k-1) G .. k G   this rank's part of the
                           (G: the global batch)      cut (data/cut.py)

A step is a pure function of its number, so the stream has no state to save: resuming at step k is asking for step k.
Ranks take shares of the same positions; with 1, 2 or 4 of them the global batch is the same.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from runjob.data.batches import MicroBatch, make_idle_batch, make_micro_batch
from runjob.data.cut import Cut, Limit, cut_by_length, cut_even, cut_rows
from runjob.data.order import RowOrder
from runjob.data.rows import Ints, Rows

# Rows of an evaluation that are sorted by length together (layout lines): enough for little padding, few enough that
# an evaluation of any size begins at once.
EVALUATION_BUCKET = 4096


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """This rank's share of one optimiser step. `places`: of the samples of all ranks, one rank after another, where
    each stands in the global batch; `wait_s` is how long the caller stood waiting."""

    micro_batches: tuple[MicroBatch, ...]
    predicted: int
    tokens: int
    digests: tuple[bytes, ...]
    places: tuple[int, ...]
    wait_s: float

    def in_sample_order(self, digests: Iterable[bytes]) -> tuple[bytes, ...]:
        """All ranks' digests, which come one rank after another, in the order of the global batch."""
        return tuple(digest for _, digest in sorted(zip(self.places, digests, strict=True)))


class TrainStream:
    """Training batches by step number. Any step may be asked for; those after it are already being built."""

    def __init__(
        self,
        rows: Rows,
        order: RowOrder,
        *,
        global_batch: int,
        limit: Limit,
        rank: int,
        ranks: int,
        ahead: int = 2,
    ) -> None:
        if global_batch % ranks or not 0 <= rank < ranks:
            raise ValueError(f"a global batch of {global_batch} for rank {rank} of {ranks}")
        if order.rows != len(rows):
            raise ValueError(f"an order of {order.rows} rows for a corpus of {len(rows)}")
        self._rows = rows
        self._order = order
        self._global_batch = global_batch
        self._limit = limit
        self._rank = rank
        self._ranks = ranks
        self._ahead = ahead
        self._building: dict[int, Future[StepBatch]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="train-stream")

    def step(self, number: int) -> StepBatch:
        """The share of step `number` (the first is 1); what went wrong while building it is raised here."""
        if number < 1:
            raise ValueError(f"steps are counted from 1, not {number}")
        began = time.perf_counter()
        wanted = range(number, number + self._ahead + 1)
        for passed in [step for step in self._building if step not in wanted]:
            self._building.pop(passed).cancel()
        for step in wanted:
            if step not in self._building:
                self._building[step] = self._thread.submit(self._build, step)
        batch = self._building.pop(number).result()
        return replace(batch, wait_s=time.perf_counter() - began)

    def close(self) -> None:
        """End the thread; what it was building is thrown away."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _build(self, step: int) -> StepBatch:
        start = (step - 1) * self._global_batch
        numbers = self._order.rows_at(start, self._global_batch)
        cut = cut_step(self._rows, numbers, ranks=self._ranks, limit=self._limit)
        micro_batches = tuple(self._micro_batch(start, numbers, places) for places in cut.micro_batches(self._rank))
        return StepBatch(
            micro_batches=micro_batches,
            predicted=sum(micro.predicted for micro in micro_batches),
            tokens=sum(micro.tokens for micro in micro_batches),
            digests=tuple(digest for micro in micro_batches for digest in micro.digests),
            places=cut.exchanged,
            wait_s=0.0,
        )

    def _micro_batch(self, start: int, numbers: Ints, places: Ints) -> MicroBatch:
        chosen: list[int] = numbers[places].tolist()
        rows = [
            self._rows.row(number, position=start + place)
            for number, place in zip(chosen, places.tolist(), strict=True)
        ]
        width = max(len(row.input_ids) for row in rows) if self._rows.bucketed else self._rows.sequence_length
        return make_micro_batch(rows, chosen, width=width, first_sample=start + int(places[0]))


def cut_step(rows: Rows, numbers: Ints, *, ranks: int, limit: Limit) -> Cut:
    """The cut of the global batch of these rows."""
    if rows.bucketed:
        return cut_by_length(rows.lengths(numbers), ranks=ranks, limit=limit)
    return cut_even(len(numbers), ranks=ranks, limit=limit, width=rows.sequence_length)


class EvaluationStream:
    """Every row of `span` once, micro batches dealt to the ranks in turn.

    Which rows share a micro batch does not depend on the number of ranks, and every rank gets the same number of
    micro batches (ZeRO 3 gathers parameters in each forward, so a rank that stops early would hang the others):
    the missing ones are idle, with no label and `predicted` 0.
    """

    def __init__(self, rows: Rows, *, span: range, limit: Limit, rank: int, ranks: int) -> None:
        if not 0 <= rank < ranks:
            raise ValueError(f"rank {rank} of {ranks}")
        self._rows = rows
        self._span = span
        self._limit = limit
        self._rank = rank
        self._ranks = ranks

    def __iter__(self) -> Iterator[MicroBatch]:
        dealt, mine = 0, 0
        for numbers in self._cut():
            if dealt % self._ranks == self._rank:
                mine += 1
                yield self._micro_batch(numbers)
            dealt += 1
        if mine < -(-dealt // self._ranks):
            yield make_idle_batch(self._rows, first_sample=len(self._rows))

    def _cut(self) -> Iterator[Ints]:
        """The row numbers of each micro batch; in layout lines those of a bucket's rows by length."""
        bucket = max(EVALUATION_BUCKET // self._limit.group, 1) * self._limit.group
        size = bucket if self._rows.bucketed else self._limit.rows_of(self._rows.sequence_length)
        for start in range(self._span.start, self._span.stop, size):
            numbers = np.arange(start, min(start + size, self._span.stop))
            if self._rows.bucketed:
                yield from (numbers[places] for places in cut_rows(self._rows.lengths(numbers), limit=self._limit))
            else:
                yield numbers

    def _micro_batch(self, numbers: Ints) -> MicroBatch:
        rows = [self._rows.row(number, position=None) for number in numbers.tolist()]
        width = max(len(row.input_ids) for row in rows) if self._rows.bucketed else self._rows.sequence_length
        return make_micro_batch(rows, numbers.tolist(), width=width, first_sample=int(numbers[0]))
