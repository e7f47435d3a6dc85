"""Rows for a head that says something of every token of a text: the tokens between the tokenizer's marks, and the label
of each (data/labels.py).

    row       [CLS] document [SEP]
    labels     -    O B I O   -        nothing is asked of the marks
"""

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.framed_rows import FramedRows
from runjob.data.labels import NONE, Tags
from runjob.data.rows import Ints, Rows
from runjob.data.store import TokenizerSummary


class LabelledRows(FramedRows):
    """Of a document that goes on in the next row a span may be parted: then it is two."""

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary, tags: Tags) -> None:
        super().__init__(texts, tokenizer)
        self._tags = tags

    def asked(self, number: int, *, start: int, end: int, input_ids: Ints) -> Ints:
        labels = self._tags.mended(np.asarray(self.side.read_labels(start, end)).astype(np.int64))
        labels[labels == NONE] = IGNORED
        unasked = (np.full(len(self.before), IGNORED), np.full(len(self.after), IGNORED))
        return np.concatenate([unasked[0], labels, unasked[1]])
