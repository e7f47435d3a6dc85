"""Rows for heads: a document, or a piece of one, between the tokenizer's marks, with what is asked of it.

row       [CLS] document [SEP]     a longer one in several rows (or only its first)
"""

from abc import ABC, abstractmethod

import numpy as np

from runjob.data.masked_rows import mark
from runjob.data.rows import DocumentRows, Ints, Row, Rows
from runjob.data.store import TokenizerSummary


class FramedRows(ABC):
    """The rows of `texts` (layout lines), framed; what is asked of one is the same in every epoch."""

    bucketed = True

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary) -> None:
        assert isinstance(texts, DocumentRows), "a rule of the job"
        self.side, self._pieces = texts.side, texts.pieces
        self.before, self.after = mark(tokenizer.cls_id), mark(tokenizer.sep_id)
        self.sequence_length = texts.sequence_length + len(self.before) + len(self.after)
        self.sections = texts.sections
        self.bytes = texts.bytes

    def __len__(self) -> int:
        return len(self._pieces)

    def lengths(self, numbers: Ints) -> Ints:
        starts, ends = self._pieces.spans(numbers)
        return ends - starts + len(self.before) + len(self.after)

    def row(self, number: int, *, position: int | None) -> Row:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        (start,), (end,) = self._pieces.spans(np.array([number]))
        ids = np.asarray(self.side.read(int(start), int(end))).astype(np.int64)
        input_ids = np.concatenate([self.before, ids, self.after])
        labels = self.asked(number, start=int(start), end=int(end), input_ids=input_ids)
        return Row(input_ids=input_ids, labels=labels, position_ids=None)

    def document_label(self, number: int) -> int:
        """What stands at the EOS of row `number`, just before the next document: a row is a whole document or the first
        part of one, as a rule of the job has it."""
        eos = int(self.side.offsets[number + 1]) - 1
        return int(self.side.read_labels(eos, eos + 1)[0])

    @abstractmethod
    def asked(self, number: int, *, start: int, end: int, input_ids: Ints) -> Ints:
        """A label for each of `input_ids`, IGNORED where nothing is asked. The row's text stands in the side's stream
        at [start, end)."""
