"""Rows for a head that says how two marked spans of a text are related (data/pairs.py): one label a row, which stands
at [E1].

    row       [CLS] [E1] Olenellus [/E1] of the lower [E2] Cambrian [/E2] [SEP]
    labels     -    OCCURS_IN  -                  nothing else is asked

Of a text so long that one of the four marks is cut off, nothing is asked.
"""

from collections.abc import Mapping

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.framed_rows import FramedRows
from runjob.data.pairs import MARKS
from runjob.data.rows import Ints, Rows
from runjob.data.store import TokenizerSummary


class PairRows(FramedRows):
    """One row a document; `ids` of the marks by their text."""

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary, ids: Mapping[str, int]) -> None:
        super().__init__(texts, tokenizer)
        self._marks = list(ids.values())
        self._first = ids[MARKS[0][0]]

    def asked(self, number: int, *, start: int, end: int, input_ids: Ints) -> Ints:
        labels = np.full(len(input_ids), IGNORED)
        if all((input_ids == mark).any() for mark in self._marks):
            labels[input_ids == self._first] = self.document_label(number)
        return labels
