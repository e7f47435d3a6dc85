"""Rows: what stands in one line of a batch, cut from one side of a store.

    layout pack    the stream end to end in windows of L tokens; documents follow one another in a row
    layout lines   one document a row, a longer one in several pieces (or only its first: truncated)

    stream         EOS  a  b  c  EOS  d  e  EOS
    pack, L = 4    [EOS a b c] -> a b c EOS     [EOS d e] -> d e EOS
    lines          [EOS a b c] -> a b c EOS     [EOS d e] -> d e EOS

In both a row reads the token before the ones that it predicts, so a document's first token is predicted from the EOS
before it and its EOS from its last token: whatever the layout, the same pairs are learnt, each exactly once an epoch.
With documents apart (`data.attention: document`) a packed row also says where in its document each token stands; the
EOS before a document is then its position 0, as it is in layout lines.

A row is a pure function of its number: nothing is remembered, the billionth costs what the first costs.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runjob.data.store import Side
from runjob.schemas.job_data import Data

Ints = npt.NDArray[np.int64]

# Documents between two entries of an index: 32 MB of index for 255 million documents, 10 us to look inside one.
STRIDE = 64
# Documents counted at a time while an index is built.
BLOCK = STRIDE * 16384


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """`position_ids` count from 0 in each document where documents are kept apart; None where the row is one text.
    `order` counts the predicted places from 0 as they are predicted, -1 elsewhere; None where order plays no part."""

    input_ids: Ints
    labels: Ints
    position_ids: Ints | None
    order: Ints | None = None


class Rows(Protocol):
    """What streams feed on. `bucketed`: rows differ in length, and those of a global batch are sorted by it.
    `sections`: how many rows each source of a mixture has; rows are numbered one section after another. `bytes` of the
    text that is in rows, 0 where nobody knows (of truncated documents)."""

    @property
    def sequence_length(self) -> int: ...

    @property
    def sections(self) -> tuple[int, ...]: ...

    @property
    def bucketed(self) -> bool: ...

    @property
    def bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def lengths(self, numbers: Ints) -> Ints:
        """Input tokens of these rows, without reading them."""
        ...

    def row(self, number: int, *, position: int | None) -> Row:
        """One row. `position` is its place in the order of training and keys what is random in it; None where every
        reading must give the same, in evaluation."""
        ...


def open_rows(side: Side, data: Data, *, eos: bool = True) -> Rows:
    """The rows of a side in the layout of the job; without `eos` a row of layout lines ends with the last token of its
    document."""
    if data.layout == "lines":
        return DocumentRows(side, data.sequence_length, truncate=data.long_documents == "truncate", eos=eos)
    return PackedRows(side, data.sequence_length, apart=data.attention == "document")


def count_tokens(rows: Rows) -> int:
    """Input tokens of an epoch."""
    blocks = (np.arange(first, min(first + BLOCK, len(rows))) for first in range(0, len(rows), BLOCK))
    return sum(int(rows.lengths(block).sum()) for block in blocks)


class PackedRows:
    """Rows of `sequence_length` tokens cut from one side's stream, section by section, end to end.

    Row i of a section reads its stream at [i L, i L + L) and predicts the token after each of them, so neighbouring
    rows share one token and every token but the very first is a label exactly once. The last row of a section may be
    short; nothing is dropped.
    """

    bucketed = False

    def __init__(self, side: Side, sequence_length: int, *, apart: bool = False) -> None:
        if sequence_length < 1:
            raise ValueError(f"a row needs at least one token, not {sequence_length}")
        self.side = side
        self.sequence_length = sequence_length
        self.apart = apart
        self.predicted = side.summary.predicted
        self.bytes = side.summary.bytes
        self.sections = tuple(section.rows(sequence_length) for section in side.summary.sections)
        # of each section and of the end: the first row, and where its stream begins
        self._first_row = np.cumsum([0, *self.sections])
        self._border = np.cumsum([0, *(section.predicted for section in side.summary.sections)])

    def __len__(self) -> int:
        return int(self._first_row[-1])

    def lengths(self, numbers: Ints) -> Ints:
        starts, ends = self._spans(numbers)
        return ends - starts

    def row(self, number: int, *, position: int | None = None) -> Row:
        """(What a causal network learns of a row is the same in every epoch: `position` plays no part.)"""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        (start,), (end,) = self._spans(np.array([number]))
        window = np.asarray(self.side.read(int(start), int(end) + 1)).astype(np.int64)
        return Row(
            input_ids=window[:-1],
            labels=window[1:],
            position_ids=self._positions(start, end) if self.apart else None,
        )

    def _spans(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Where in the stream the rows' inputs begin and end."""
        section = np.searchsorted(self._first_row, numbers, side="right") - 1
        starts = self._border[section] + (numbers - self._first_row[section]) * self.sequence_length
        return starts, np.minimum(starts + self.sequence_length, self._border[section + 1])

    def _positions(self, start: int, end: int) -> Ints:
        """Positions in their documents; a document that the row's edge cuts begins anew in the next row."""
        offsets = self.side.offsets
        # the EOS before a document opens it, and stands one place before its offset
        first, last = np.searchsorted(offsets, (start + 2, end + 1))
        openings = np.concatenate(([start], offsets[first:last] - 1))
        positions: Ints = np.arange(start, end) - np.repeat(openings, np.diff(np.append(openings, end)))
        return positions


class DocumentRows:
    """One document a row. The tokens of a document and its EOS are labels, at most `sequence_length` of them a row: a
    longer document goes on in the next row (or, truncated, ends there without its EOS)."""

    bucketed = True

    def __init__(self, side: Side, sequence_length: int, *, truncate: bool, eos: bool = True) -> None:
        self.side = side
        self.sequence_length = sequence_length
        self.pieces = Pieces(side, sequence_length, eos=eos, truncate=truncate)
        self.predicted = self.pieces.tokens
        self.bytes = 0 if truncate else side.summary.bytes
        self.sections = self.pieces.sections

    def __len__(self) -> int:
        return len(self.pieces)

    def lengths(self, numbers: Ints) -> Ints:
        starts, ends = self.pieces.spans(numbers)
        return ends - starts

    def row(self, number: int, *, position: int | None = None) -> Row:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        (start,), (end,) = self.pieces.spans(np.array([number]))
        window = np.asarray(self.side.read(int(start) - 1, int(end))).astype(np.int64)
        return Row(input_ids=window[:-1], labels=window[1:], position_ids=None)


class Pieces:
    """The documents of a side in pieces of at most `size` tokens, numbered in their order: piece -> where in the stream
    it stands. `eos` counts the token that closes a document to it; `truncate` keeps the first piece of each alone.

    Only every STRIDE-th document has its first piece in memory. `tokens` of the side are in pieces, `left_out` are not.
    """

    def __init__(self, side: Side, size: int, *, eos: bool, truncate: bool) -> None:
        if size < 1:
            raise ValueError(f"a piece needs at least one token, not {size}")
        self.side = side
        self.size = size
        self.truncate = truncate
        # what of a document's place in the stream is in no piece
        self._apart = 0 if eos else 1
        self._offsets: Ints = np.asarray(side.offsets)  # a plain view: numpy's memmap is slow to index

    def __len__(self) -> int:
        return int(self._index[-1])

    @property
    def sections(self) -> tuple[int, ...]:
        """How many pieces each section has."""
        last = np.cumsum([0, *(section.documents for section in self.side.summary.sections)])
        return tuple(np.diff([self._before(int(document)) for document in last]).tolist())

    @property
    def tokens(self) -> int:
        return self._counted[1]

    @property
    def left_out(self) -> int:
        return self.side.summary.predicted - self._apart * self.side.summary.documents - self.tokens

    def spans(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Where these pieces begin and end in the stream."""
        documents, nth = self._locate(numbers)
        starts = self._offsets[documents] + nth * self.size
        ends = self._offsets[documents + 1] - self._apart
        return starts, np.minimum(starts + self.size, ends)

    def _locate(self, numbers: Ints) -> tuple[Ints, Ints]:
        """The document of each piece, and which of its pieces it is."""
        if len(self) == self.side.summary.documents:
            return numbers, np.zeros_like(numbers)
        stride = np.searchsorted(self._index, numbers, side="right") - 1
        # of each piece, all documents of its stride (those beyond the last one are empty and come last)
        edges = np.minimum(stride[:, None] * STRIDE + np.arange(STRIDE + 1), self.side.summary.documents)
        pieces = self._pieces_of(edges)
        ends = self._index[stride][:, None] + np.cumsum(pieces, axis=1)
        within = (ends <= numbers[:, None]).sum(1)
        each = np.arange(len(numbers))
        return stride * STRIDE + within, numbers - (ends[each, within] - pieces[each, within])

    def _before(self, document: int) -> int:
        """Pieces of all documents before this one."""
        stride = document // STRIDE
        return int(self._index[stride] + self._pieces_of(np.arange(stride * STRIDE, document + 1)).sum())

    def _pieces_of(self, edges: Ints) -> Ints:
        """How many pieces the documents between these edges have (document numbers, along the last axis)."""
        pieces: Ints = np.maximum(-(-self._lengths_of(edges) // self.size), 1)
        return np.minimum(pieces, 1) if self.truncate else pieces

    def _lengths_of(self, edges: Ints) -> Ints:
        lengths: Ints = np.diff(self._offsets[edges]) - self._apart
        return lengths

    @property
    def _index(self) -> Ints:
        return self._counted[0]

    @cached_property
    def _counted(self) -> tuple[Ints, int]:
        """The number of pieces before every STRIDE-th document, and at the end of all; the tokens in pieces."""
        counts, tokens = [np.zeros(1, dtype=np.int64)], 0
        for first in range(0, self.side.summary.documents, BLOCK):
            edges = np.arange(first, min(first + BLOCK, self.side.summary.documents) + 1)
            pieces, lengths = self._pieces_of(edges), self._lengths_of(edges)
            counts.append(np.add.reduceat(pieces, np.arange(0, len(pieces), STRIDE)))
            tokens += int((np.minimum(lengths, self.size) if self.truncate else lengths).sum())
        return np.cumsum(np.concatenate(counts)), tokens
