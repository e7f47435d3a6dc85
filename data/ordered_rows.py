"""Masked rows with an order in which the hidden characters are predicted: a shuffle of them, drawn anew in every epoch,
the same for every evaluation, and a pure function of the seed and the row's place as everything else that is random in
a row (data/masked_rows.py)."""

import dataclasses

import numpy as np

from runjob.data.corruptions import IGNORED, Draws, Ints
from runjob.data.rows import Row, Rows


class OrderedRows:
    """The rows of `masked` with their `order`."""

    def __init__(self, masked: Rows, *, seed: int) -> None:
        self._masked = masked
        self._seed = seed
        self.sequence_length = masked.sequence_length
        self.sections = masked.sections
        self.bucketed = masked.bucketed
        self.bytes = masked.bytes

    def __len__(self) -> int:
        return len(self._masked)

    def lengths(self, numbers: Ints) -> Ints:
        return self._masked.lengths(numbers)

    def row(self, number: int, *, position: int | None) -> Row:
        row = self._masked.row(number, position=position)
        place = ("evaluation", number) if position is None else ("train", position)
        places = np.flatnonzero(row.labels != IGNORED)
        order = np.full_like(row.labels, -1)
        shuffled = Draws((self._seed, "order", *place)).uniform(len(places)).argsort(kind="stable")
        order[places[shuffled]] = np.arange(len(places))
        return dataclasses.replace(row, order=order)
