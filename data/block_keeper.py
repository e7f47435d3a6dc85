"""Which blocks of a stream are on disk: those that the running steps read, some that come next, and of the others as
many as fit into the budget. One process per run keeps them; everybody else only reads."""

from collections.abc import Mapping

from runjob.data.block_maker import BlockMaker
from runjob.data.blocks import BlockRecord, Folder, Index, digest_of, refuse_other, size_of

# Blocks beyond those in use: one to go on with, one being read. A block of 10,000 documents is read in seconds and
# trained on for minutes.
AHEAD = 2


class BlockKeeper:
    """`provide` is all there is to do; it does one block at a time, so that whoever calls can look up in between."""

    def __init__(
        self, maker: BlockMaker, index: Index, folder: Folder, *, budget: int, source: str, ahead: int = AHEAD
    ) -> None:
        index.mend()
        folder.clear_rests()
        self._maker = maker
        self._index = index
        self._folder = folder
        self._budget = budget
        self._source = source
        self._ahead = ahead
        self._sizes: dict[int, int] = {}
        self._aside: dict[int, int] = {}
        for number in folder.numbers_aside():
            if number < len(index.records):
                self._aside[number] = size_of(folder.aside(number))
            else:  # written, but killed before the index knew: it is read again
                folder.forget(number)

    def provide(self, positions: range, *, keep_from: int) -> int | None:
        """Put one missing block in place: its number, or None if nothing is missing. `positions`: those that running
        steps read; `keep_from`: the position of the oldest kept checkpoint."""
        used = self._blocks_of(positions)
        oldest = self._blocks_of(range(keep_from, keep_from + 1)).start
        for number in range(used.start, used.stop + self._ahead):
            if number in self._sizes or (number >= used.stop and not self._fits(used, oldest)):
                continue
            self._obtain(number)
            self._make_room(used, oldest)
            return number
        return None

    def _blocks_of(self, positions: range) -> range:
        """Their numbers; where the index does not reach so far, the next one that has to be made is the last."""
        known, records = self._index.rows, self._index.records
        first = self._index.block_of(positions.start).number if positions.start < known else len(records)
        last = self._index.block_of(positions.stop - 1).number if positions.stop - 1 < known else len(records)
        return range(first, last + 1)

    def _fits(self, used: range, oldest: int) -> bool:
        """One more block, if everything that can go went: as large as the largest so far."""
        largest = max((record.size for record in self._index.records), default=0)
        needed = sum(size for number, size in self._sizes.items() if number >= used.start)
        return needed + largest <= self._budget

    def _obtain(self, number: int) -> None:
        if number == len(self._index.records):
            begin = self._index.records[-1].end if self._index.records else self._maker.first_place()
            record = self._maker.make(number, begin)
            self._index.append(record)
        else:
            record = self._index.records[number]
            if not self._still_good(record):
                again = self._maker.make_again(record)
                if again.sha256 != record.sha256 and again.documents:
                    self._folder.drop(number)
                refuse_other(record, again.sha256, source=self._source)
        self._sizes[number] = record.size

    def _still_good(self, record: BlockRecord) -> bool:
        """What an earlier attempt left, put back in place if not a byte of it is other than it was."""
        if self._aside.pop(record.number, None) is None:
            return False
        if digest_of(self._folder.aside(record.number)) == record.sha256:
            self._folder.put_back(record.number)
            return True
        self._folder.forget(record.number)
        return False

    def _make_room(self, used: range, oldest: int) -> None:
        for number in to_drop({**self._sizes, **self._aside}, used=used, keep_from=oldest, budget=self._budget):
            if self._sizes.pop(number, None) is not None:
                self._folder.drop(number)
            elif self._aside.pop(number, None) is not None:
                self._folder.forget(number)


def to_drop(held: Mapping[int, int], *, used: range, keep_from: int, budget: int) -> list[int]:
    """Which blocks go so that the others fit into `budget` bytes. `held`: block -> bytes; `used`: the blocks that the
    running steps read, which always stay; `keep_from`: that of the oldest kept checkpoint.

    First those that no checkpoint needs, then what only a resume would need (it reads them again), then what was read
    too far ahead, the farthest first.
    """
    done = [number for number in sorted(held) if number < min(keep_from, used.start)]
    behind = [number for number in sorted(held) if keep_from <= number < used.start]
    ahead = [number for number in sorted(held, reverse=True) if number >= used.stop]
    total, going = sum(held.values()), []
    for number in (*done, *behind, *ahead):
        if total <= budget:
            break
        total -= held[number]
        going.append(number)
    return going
