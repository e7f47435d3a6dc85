"""Rows for a head that says how two marked spans of a text are related (data/pairs.py): one label a row, which stands
at [E1].

    row       [CLS] [E1] Olenellus [/E1] of the lower [E2] Cambrian [/E2] [SEP]
    labels     -    OCCURS_IN  -                  nothing else is asked

Of a text so long that one of the four marks is cut off, nothing is asked.
"""

from collections.abc import Mapping

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.masked_rows import mark
from runjob.data.pairs import MARKS
from runjob.data.rows import DocumentRows, Ints, Row, Rows
from runjob.data.store import TokenizerSummary


class PairRows:
    """The rows of `texts` (layout lines, one row a document), framed; `ids` of the marks by their text."""

    bucketed = True

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary, ids: Mapping[str, int]) -> None:
        assert isinstance(texts, DocumentRows), "a rule of the job"
        self._side, self._pieces = texts.side, texts.pieces
        self._before, self._after = mark(tokenizer.cls_id), mark(tokenizer.sep_id)
        self._marks = list(ids.values())
        self._first = ids[MARKS[0][0]]
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
        input_ids = np.concatenate([self._before, ids, self._after])
        labels = np.full(len(input_ids), IGNORED)
        if all((input_ids == mark).any() for mark in self._marks):
            # a row is a whole document (a rule of the job), so its EOS stands before the next one
            eos = int(self._side.offsets[number + 1]) - 1
            labels[input_ids == self._first] = int(self._side.read_labels(eos, eos + 1)[0])
        return Row(input_ids=input_ids, labels=labels, position_ids=None)
