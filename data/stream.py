"""What one rank is fed: the store, the order and the batches joined, and built ahead by one thread.

    store ----> PackedRows ---------------------------+
                                                      v
    (seed) ---> Order ---> row numbers of step k ---> micro batches of step k ---> StepBatch ---> the loop
                           positions (k-1) G .. k G   this rank's share of G, cut
                           (G: the global batch)      into at most `micro_batch` rows

A step is a pure function of its number, so the stream has no state to save: resuming at step k is asking for step k.
Ranks take contiguous shares of the same positions; with 1, 2 or 4 of them the global batch is the same.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from runjob.data.batches import MicroBatch, make_idle_batch, make_micro_batch
from runjob.data.order import Order
from runjob.data.store import PackedRows


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """This rank's share of one optimiser step; `wait_s` is how long the caller stood waiting for it."""

    micro_batches: tuple[MicroBatch, ...]
    predicted: int
    tokens: int
    digests: tuple[bytes, ...]
    wait_s: float


class TrainStream:
    """Training batches by step number. Any step may be asked for; those after it are already being built."""

    def __init__(
        self,
        rows: PackedRows,
        order: Order,
        *,
        global_batch: int,
        micro_batch: int,
        rank: int,
        ranks: int,
        ahead: int = 2,
    ) -> None:
        if global_batch % ranks or not 0 <= rank < ranks or micro_batch < 1:
            raise ValueError(f"a global batch of {global_batch} for rank {rank} of {ranks}, cut by {micro_batch}")
        if order.rows != len(rows):
            raise ValueError(f"an order of {order.rows} rows for a corpus of {len(rows)}")
        self._rows = rows
        self._order = order
        self._global_batch = global_batch
        self._micro_batch = micro_batch
        self._share = global_batch // ranks
        self._rank = rank
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

    def _build(self, number: int) -> StepBatch:
        start = (number - 1) * self._global_batch + self._rank * self._share
        numbers: list[int] = self._order.rows_at(start, self._share).tolist()
        micro_batches = tuple(
            make_micro_batch(self._rows, numbers[cut : cut + self._micro_batch], first_sample=start + cut)
            for cut in range(0, self._share, self._micro_batch)
        )
        return StepBatch(
            micro_batches=micro_batches,
            predicted=sum(micro.predicted for micro in micro_batches),
            tokens=sum(micro.tokens for micro in micro_batches),
            digests=tuple(digest for micro in micro_batches for digest in micro.digests),
            wait_s=0.0,
        )


class EvaluationStream:
    """Every row once and in order, micro batches dealt to the ranks in turn.

    Which rows share a micro batch does not depend on the number of ranks, and every rank gets the same number of
    micro batches (ZeRO 3 gathers parameters in each forward, so a rank that stops early would hang the others):
    the missing ones are idle, with no label and `predicted` 0.
    """

    def __init__(self, rows: PackedRows, *, micro_batch: int, rank: int, ranks: int) -> None:
        if not 0 <= rank < ranks or micro_batch < 1:
            raise ValueError(f"rank {rank} of {ranks}, cut by {micro_batch}")
        self._rows = rows
        self._micro_batch = micro_batch
        self._rank = rank
        self._ranks = ranks

    def __len__(self) -> int:
        """Micro batches of every rank."""
        return -(-len(self._rows) // (self._micro_batch * self._ranks))

    def __iter__(self) -> Iterator[MicroBatch]:
        for turn in range(len(self)):
            start = (turn * self._ranks + self._rank) * self._micro_batch
            numbers = range(start, min(start + self._micro_batch, len(self._rows)))
            if numbers:
                yield make_micro_batch(self._rows, numbers, first_sample=start)
            else:
                yield make_idle_batch(self._rows, first_sample=start)
