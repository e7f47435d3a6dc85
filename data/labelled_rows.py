"""Rows for a head that says something of every token of a text: the tokens between the tokenizer's marks, and the label
of each (data/labels.py).

    row       [CLS] document [SEP]     a longer one in several rows (or only its first)
    labels     -    O B I O   -        nothing is asked of the marks
"""

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.labels import NONE, Tags
from runjob.data.masked_rows import mark
from runjob.data.rows import DocumentRows, Ints, Row, Rows
from runjob.data.store import TokenizerSummary


class LabelledRows:
    """The rows of `texts` (layout lines), framed; what is asked of one is the same in every epoch. Of a document that
    goes on in the next row a span may be parted: then it is two."""

    bucketed = True

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary, tags: Tags) -> None:
        assert isinstance(texts, DocumentRows), "a rule of the job"
        self._side, self._pieces = texts.side, texts.pieces
        self._before, self._after = mark(tokenizer.cls_id), mark(tokenizer.sep_id)
        self._tags = tags
        self.sequence_length = texts.sequence_length + len(self._before) + len(self._after)
        self.sections = texts.sections
        self.bytes = texts.bytes

    def __len__(self) -> int:
        return len(self._pieces)

    def lengths(self, numbers: Ints) -> Ints:
        starts, ends = self._pieces.spans(numbers)
        return ends - starts + len(self._before) + len(self._after)

    def row(self, number: int, *, position: int | None) -> Row:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        (start,), (end,) = self._pieces.spans(np.array([number]))
        ids = np.asarray(self._side.read(int(start), int(end))).astype(np.int64)
        labels = self._tags.mended(np.asarray(self._side.read_labels(int(start), int(end))).astype(np.int64))
        labels[labels == NONE] = IGNORED
        unasked = (np.full(len(self._before), IGNORED), np.full(len(self._after), IGNORED))
        return Row(
            input_ids=np.concatenate([self._before, ids, self._after]),
            labels=np.concatenate([unasked[0], labels, unasked[1]]),
            position_ids=None,
        )
