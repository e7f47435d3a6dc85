"""A stream's rows and their order, as a rank sees them: blocks that one reader writes while training goes on.

    position p  ->  the block that holds it (index)  ->  keyed permutation inside the block  ->  row number  ->  row

The order is mixed inside a block only: a row is never farther from its place in the source than one block. It is a
pure function of (seed, number of the block, offset); a block of a later turn through the source has another number, so
it comes in another order. What is not there yet is waited for; if the reader has given up, or nothing has come for too
long, that is said and not waited for.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

from runjob.data.blocks import BlockRecord, Folder, Index
from runjob.data.order import Order
from runjob.data.rows import Ints, Row, Rows
from runjob.data.store import Side
from runjob.schemas.errors import DataError
from runjob.schemas.run import read_json

# Nobody knows how many rows a stream has; this many are never reached.
ENDLESS = 2**62
# Shorter than the 30 minutes after which gloo ends a rank that waits for another one: here it is said what was missing.
PATIENCE_S = 1200.0
ASK_EVERY_S = 0.05
# A mapping keeps a dropped block on the disk until it is closed, beyond the budget: no more than a few steps span.
OPEN_BLOCKS = 4


class StreamStopped(DataError):
    """The reader gave up. `broken_off`: the data could not be had, which may be otherwise tomorrow."""

    def __init__(self, message: str, *, broken_off: bool) -> None:
        super().__init__(message)
        self.broken_off = broken_off


class Blocks:
    """The blocks of a run, waited for where they are still to come. `failure`: where the reader says why it gave up."""

    def __init__(
        self,
        index: Index,
        folder: Folder,
        *,
        failure: Path,
        open_rows: Callable[[Side], Rows],
        asked_to_stop: Callable[[], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._index = index
        self._folder = folder
        self._failure = failure
        self._open_rows = open_rows
        self._asked_to_stop = asked_to_stop
        self._patience_s = patience_s
        self._closed = False
        self._open: OrderedDict[int, Rows] = OrderedDict()
        self._lock = Lock()

    def holding(self, position: int) -> BlockRecord:
        with self._lock:
            self._wait(lambda: self._known(position), what=f"the block with sample {position:,}")
            return self._index.block_of(position)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._closed = True

    def first_row(self, record: BlockRecord) -> int:
        return self._index.first_row(record.number)

    def rows(self, record: BlockRecord) -> Rows:
        """The rows of one block, mapped."""
        with self._lock:
            if record.number not in self._open:
                path = self._folder.block(record.number)
                self._wait(path.exists, what=f"block {record.number}, which is read again")
                self._open[record.number] = self._open_rows(self._folder.side(record))
                if len(self._open) > OPEN_BLOCKS:
                    self._open.popitem(last=False)
            self._open.move_to_end(record.number)
            return self._open[record.number]

    def _known(self, position: int) -> bool:
        if position >= self._index.rows:
            self._index.refresh()
        return position < self._index.rows

    def _wait(self, there: Callable[[], bool], *, what: str) -> None:
        until = time.monotonic() + self._patience_s
        while not there():
            if self._failure.exists():
                said = read_json(self._failure)
                raise StreamStopped(str(said["error"]), broken_off=bool(said["broken_off"]))
            if self._closed or self._asked_to_stop():
                raise StreamStopped(f"{what} is not waited for: the run was asked to stop", broken_off=True)
            if time.monotonic() > until:
                raise StreamStopped(
                    f"{what} has not come for {self._patience_s:g} s and its reader says nothing: the source hangs, or "
                    f"blocks are larger than it gives in that time; lower data.block_documents, or resume later",
                    broken_off=True,
                )
            time.sleep(ASK_EVERY_S)


class BlockOrder:
    """The order of an endless stream (data/order.py has that of a store)."""

    rows = ENDLESS

    def __init__(self, blocks: Blocks, seed: int) -> None:
        self._blocks = blocks
        self.seed = seed

    def row_at(self, position: int) -> int:
        return int(self.rows_at(position, 1)[0])

    def rows_at(self, start: int, count: int) -> Ints:
        """The rows at positions start, start + 1, ... start + count - 1; they may run across blocks."""
        parts: list[Ints] = []
        position, end = start, start + count
        while position < end:
            record = self._blocks.holding(position)
            first = self._blocks.first_row(record)
            offset = position - first
            taken = min(record.rows - offset, end - position)
            order = Order(record.rows, self.seed)
            parts.append(first + order.rows_at(record.number * record.rows + offset, taken))
            position += taken
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


class BlockRows:
    """The rows of all blocks, numbered on; of how many `bytes` of text, nobody knows (0)."""

    bytes = 0
    sections: tuple[int, ...] = (ENDLESS,)

    def __init__(self, blocks: Blocks, *, sequence_length: int, bucketed: bool) -> None:
        self.sequence_length = sequence_length
        self.bucketed = bucketed
        self._blocks = blocks

    def __len__(self) -> int:
        return ENDLESS

    def lengths(self, numbers: Ints) -> Ints:
        lengths = np.empty_like(numbers)
        records = [self._blocks.holding(number) for number in numbers.tolist()]
        blocks = np.array([record.number for record in records])
        for record in {record.number: record for record in records}.values():
            here = blocks == record.number
            within = numbers[here] - self._blocks.first_row(record)
            lengths[here] = self._blocks.rows(record).lengths(within)
        return lengths

    def row(self, number: int, *, position: int | None) -> Row:
        record = self._blocks.holding(number)
        return self._blocks.rows(record).row(number - self._blocks.first_row(record), position=position)
