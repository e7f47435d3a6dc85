"""Which row stands at which place of training: a pure function of (seed, epoch, position), so nothing has to be
remembered to resume and nothing has to be shuffled to begin.

    position p  ->  epoch p // rows, offset p % rows  ->  keyed permutation of 0 .. rows-1  ->  row

The permutation is a Feistel network on a grid of about sqrt(rows) x sqrt(rows) cells: each round adds to one
coordinate a hash of the other, which can be undone whatever the hash is, so no two offsets meet in one row. Offsets
that land outside 0 .. rows-1 are sent through again (cycle walking); the grid has fewer than 2 sqrt(rows) + 1 spare
cells, so that is rare. Any place costs the same few dozen integer operations, the billionth as much as the first.
"""

import hashlib
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

Uint64 = npt.NDArray[np.uint64]

# 4 rounds make a strong pseudo-random permutation where the grid is large (Luby and Rackoff 1988). Small grids need
# more: with 8 some orders of 5 rows come up 15 % more often than others, with 16 the difference is below what 120,000
# epochs show (tests/data/test_order.py).
ROUNDS = 16
MAX_ROWS = 2**40


class RowOrder(Protocol):
    """What training asks of any order: this one, or that of a stream (data/block_rows.py)."""

    rows: int

    def rows_at(self, start: int, count: int) -> npt.NDArray[np.int64]: ...


class Order:
    """The order of `rows` rows, a new one every epoch. Ranks and micro batches play no part in it."""

    def __init__(self, rows: int, seed: int) -> None:
        if not 1 <= rows <= MAX_ROWS:
            raise ValueError(f"an order needs between 1 and 2**40 rows, not {rows}")
        self.rows = rows
        self.seed = seed
        self._height = math.isqrt(rows - 1) + 1
        self._width = -(-rows // self._height)

    def row_at(self, position: int) -> int:
        """The row at one position of the endless stream of epochs."""
        return int(self.rows_at(position, 1)[0])

    def rows_at(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """The rows at positions start, start + 1, ... start + count - 1; they may run across epochs."""
        if start < 0 or count < 0:
            raise ValueError(f"positions start at 0 and counts are not negative: {start}, {count}")
        parts: list[npt.NDArray[np.int64]] = []
        position, end = start, start + count
        while position < end:
            epoch, offset = divmod(position, self.rows)
            taken = min(self.rows - offset, end - position)
            parts.append(self._permute(np.arange(offset, offset + taken, dtype=np.uint64), epoch))
            position += taken
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _permute(self, offsets: Uint64, epoch: int) -> npt.NDArray[np.int64]:
        keys = _round_keys(self.seed, epoch)
        cells = self._scramble(offsets, keys)
        while (outside := cells >= self.rows).any():
            cells[outside] = self._scramble(cells[outside], keys)
        return cells.astype(np.int64)

    def _scramble(self, cells: Uint64, keys: Uint64) -> Uint64:
        y = cells // np.uint64(self._width)
        x = cells - y * np.uint64(self._width)
        for number, key in enumerate(keys):
            if number % 2:
                x = _turn(x, y, key, self._width)
            else:
                y = _turn(y, x, key, self._height)
        return y * np.uint64(self._width) + x


def _turn(moved: Uint64, by: Uint64, key: np.uint64, size: int) -> Uint64:
    """One coordinate, turned round its circle of `size` cells by an amount that hangs on the other alone."""
    # The upper half of the hash scaled to the size: sizes are at most 2**20, and `%` on uint64 is four times as slow.
    turned = moved + ((mixed(by, key) >> np.uint64(32)) * np.uint64(size) >> np.uint64(32))
    turned[turned >= size] -= np.uint64(size)
    return turned


def _round_keys(seed: int, epoch: int) -> Uint64:
    digest = hashlib.shake_256(f"runjob order {seed} {epoch}".encode()).digest(8 * ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def mixed(values: Uint64, key: np.uint64) -> Uint64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014) on keyed values; arrays of uint64 wrap silently."""
    z = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
