"""Rows for vectors of texts: the two texts of a pair (data/text_pairs.py), one behind the other, each between the
tokenizer's marks. The network gets them apart (runner/worker/models/text_vectors.py).

    row       [CLS] trilobite [SEP] [CLS] an extinct arthropod [SEP]
    labels     -      -         -    17    -    -        -       -       the row's number, where the second begins
"""

import numpy as np

from runjob.data.corruptions import IGNORED
from runjob.data.framed_rows import Framed
from runjob.data.rows import Ints, Row, Rows
from runjob.data.store import TokenizerSummary


class TextPairRows(Framed):
    """Two documents a row; of a side that a budget ends between the two the last document is left out."""

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary) -> None:
        super().__init__(texts, tokenizer)
        self._rows = len(self.pieces) // 2
        self.sections = (self._rows,)
        self.bytes = 0

    def __len__(self) -> int:
        return self._rows

    def lengths(self, numbers: Ints) -> Ints:
        """Of both texts together."""
        lengths: Ints = self.framed_lengths(2 * numbers) + self.framed_lengths(2 * numbers + 1)
        return lengths

    def longest(self, numbers: Ints) -> Ints:
        """Of the longer text, as which both are computed."""
        lengths: Ints = np.maximum(self.framed_lengths(2 * numbers), self.framed_lengths(2 * numbers + 1))
        return lengths

    def row(self, number: int, *, position: int | None) -> Row:
        first, second = self.texts(number)
        labels = np.full(len(first) + len(second), IGNORED)
        labels[len(first)] = number
        return Row(input_ids=np.concatenate([first, second]), labels=labels, position_ids=None)

    def texts(self, number: int) -> tuple[Ints, Ints]:
        """The tokens of the anchor and of its positive, each with its marks."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        starts, ends = self.pieces.spans(np.array([2 * number, 2 * number + 1]))
        first, second = (self.framed(int(start), int(end)) for start, end in zip(starts, ends, strict=True))
        return first, second
