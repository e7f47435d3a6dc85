"""The order of a mixture: which source's row stands at which place of training, and which of its rows.

    position p  ->  cycle p // C, place p % C  ->  source (exactly by weight in every cycle)  ->  its next row

A cycle is the shortest run of rows in which the proportions are exact: weights 3 and 1 have one of 4 rows. Inside it
the places are dealt to the sources by a keyed draw, in every cycle anew. Each source has an order and epochs of its
own: the rows of one source, taken out of the mixture, are what training on that source alone would read, pass after
pass. All of it is a pure function of (seed, position): a cycle says how many rows of each source came before it, so the
billionth place costs what the tenth costs.

An epoch of a mixture is as many rows as all sources have together; what weighs more than its share of them is seen more
than once in it, what weighs less not to its end.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from runjob.data.order import Order, RowOrder, mixed
from runjob.schemas.data_rules import cycle_of
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Data, MixData

Ints = npt.NDArray[np.int64]


def open_order(data: Data, sections: tuple[int, ...], *, seed: int) -> RowOrder:
    """The order of training over rows that are numbered one section after another."""
    if not isinstance(data, MixData):
        return Order(sum(sections), seed)
    refuse_empty_sources(data, sections)
    return MixedOrder(sections, cycle_of([source.weight for source in data.sources]), seed=seed)


def refuse_empty_sources(data: Data, sections: tuple[int, ...]) -> None:
    """DataError if a source of a mixture brings nothing to training; `sections`: how much each does, in any unit."""
    if not isinstance(data, MixData):
        return
    empty = next((number for number, rows in enumerate(sections) if not rows), None)
    if empty is not None or len(sections) < len(data.sources):
        number = len(sections) if empty is None else empty
        raise DataError(
            f"data.sources[{number}]: none of its documents is on the training side, so its weight can't be kept; "
            f"leave it out, or let fewer of its documents go by deduplicate, filter, min_length and split"
        )


class MixedOrder:
    """`sections`: rows of each source; `shares`: rows of each in one cycle."""

    def __init__(self, sections: tuple[int, ...], shares: tuple[int, ...], *, seed: int) -> None:
        if len(sections) != len(shares) or min(*sections, *shares) < 1:
            raise ValueError(f"sections of {sections} rows in the proportions {shares}")
        self.rows = sum(sections)
        self.seed = seed
        self.shares = shares
        self.cycle = sum(shares)
        self._first_row = [0, *np.cumsum(sections).tolist()]
        self._borders = np.cumsum(self.shares)
        self._orders = tuple(Order(rows, _seed_of(seed, number)) for number, rows in enumerate(sections))

    def rows_at(self, start: int, count: int) -> Ints:
        """The rows at positions start, start + 1, ... start + count - 1."""
        if start < 0 or count < 0:
            raise ValueError(f"positions start at 0 and counts are not negative: {start}, {count}")
        first, last = start // self.cycle, -(-(start + count) // self.cycle)
        wanted = slice(start - first * self.cycle, start - first * self.cycle + count)
        sources = self._sources(first, last)
        found = np.empty(count, dtype=np.int64)
        for number, order in enumerate(self._orders):
            here = sources == number
            places = np.flatnonzero(here[wanted])
            if len(places):
                before = int(np.count_nonzero(here[: wanted.start]))
                rows = order.rows_at(first * self.shares[number] + before, len(places))
                found[places] = self._first_row[number] + rows
        return found

    def sources_at(self, start: int, count: int) -> Ints:
        """Which source each of these positions belongs to."""
        first, last = start // self.cycle, -(-(start + count) // self.cycle)
        return self._sources(first, last)[start - first * self.cycle :][:count]

    def _sources(self, first: int, last: int) -> Ints:
        """The source of every place of these cycles, the last one not among them."""
        places = np.arange(first * self.cycle, last * self.cycle, dtype=np.uint64)
        drawn = mixed(places, _key(self.seed)).reshape(-1, self.cycle)
        # stable: two places that draw the same number (once in 2**64) keep their order on every machine
        ranks = np.argsort(np.argsort(drawn, axis=1, kind="stable"), axis=1, kind="stable")
        sources: Ints = np.searchsorted(self._borders, ranks.ravel(), side="right").astype(np.int64)
        return sources


def _key(seed: int) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(f"runjob mixture {seed}".encode()).digest()[:8], "little"))


def _seed_of(seed: int, section: int) -> int:
    """Sources of equal size would else be read in the same order."""
    return int.from_bytes(hashlib.sha256(f"runjob mixture {seed} source {section}".encode()).digest()[:8], "little")
