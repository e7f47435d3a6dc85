"""Rows for heads: a document, or a piece of one, between the tokenizer's marks, with what is asked of it.

row       [CLS] document [SEP]     a longer one in several rows (or only its first)
"""

from abc import ABC, abstractmethod

import numpy as np

from runjob.data.masked_rows import mark
from runjob.data.rows import DocumentRows, Ints, Row, Rows
from runjob.data.store import TokenizerSummary


class Framed:
    """The pieces of `texts` (layout lines), framed."""

    bucketed = True

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary) -> None:
        assert isinstance(texts, DocumentRows), "a rule of the job"
        self.side, self.pieces = texts.side, texts.pieces
        self.before, self.after = mark(tokenizer.cls_id), mark(tokenizer.sep_id)
        self.sequence_length = texts.sequence_length + len(self.before) + len(self.after)

    def framed_lengths(self, pieces: Ints) -> Ints:
        starts, ends = self.pieces.spans(pieces)
        return ends - starts + len(self.before) + len(self.after)

    def framed(self, start: int, end: int) -> Ints:
        """The tokens of the side's stream at [start, end), between the marks."""
        ids = np.asarray(self.side.read(start, end)).astype(np.int64)
        return np.concatenate([self.before, ids, self.after])


class FramedRows(Framed, ABC):
    """One piece a row; what is asked of it is the same in every epoch."""

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary) -> None:
        super().__init__(texts, tokenizer)
        self.sections = texts.sections
        self.bytes = texts.bytes

    def __len__(self) -> int:
        return len(self.pieces)

    def lengths(self, numbers: Ints) -> Ints:
        return self.framed_lengths(numbers)

    def row(self, number: int, *, position: int | None) -> Row:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        (start,), (end,) = self.pieces.spans(np.array([number]))
        input_ids = self.framed(int(start), int(end))
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
