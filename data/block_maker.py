"""Blocks out of the source: so many kept documents, tokenised and written, and the place where the next one begins.

A block is a function of the place where it begins: read again from there it is the same to the byte, or the source is
another one. At its end, or at the token budget, the source is begun anew behind the documents that `split` keeps for
validation and test: the next turn.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from runjob.data.blocks import BlockRecord, Folder, Place, digest_of, in_batches, size_of
from runjob.data.corpus import Corpus
from runjob.data.documents import refusal, too_many
from runjob.data.normalize import open_normalizer
from runjob.data.rows import Rows
from runjob.data.selection import Selection
from runjob.data.store import LeftOut, Side, SideSummary
from runjob.data.streaming import State, Streamed
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import HubData
from runjob.schemas.quantities import parse_count


class Turn:
    """A reading of the source from a place on; `place` moves with every document taken."""

    def __init__(self, streamed: Streamed, data: HubData, begin: Place) -> None:
        self._reading = streamed.read(dict(begin.state))
        self.corpus = Corpus.of(self._reading)
        self._selection = Selection(
            self.corpus, normalize=open_normalizer(data), min_length=data.min_length, filter=data.filter
        )
        self._documents = self._selection.documents()
        self.cycle = begin.cycle
        self.tokens = begin.tokens
        self._taken_from = (0, 0)  # rows and bad ones that were read before the documents taken last

    @property
    def place(self) -> Place:
        return Place(cycle=self.cycle, tokens=self.tokens, state=self._reading.state)

    @property
    def left_out(self) -> LeftOut:
        return self._selection.left_out

    def take(self, count: int) -> Iterator[str]:
        """The next so many kept documents, or as many as are left; none is read before it is asked for. Whoever has
        taken what it wants calls `judge`."""
        self._taken_from = self._reading.rows, self._reading.bad.count
        self._reading.bad.first = []
        for _, document in itertools.islice(self._documents, count):
            yield document.text

    def judge(self) -> tuple[str, ...]:
        """The first bad rows among those read for the documents taken last; DataError if they are more than
        bad_rows allows."""
        reading, (rows, bad) = self._reading, self._taken_from
        rows, bad = reading.rows - rows, reading.bad.count - bad
        if too_many(bad, rows=rows, allowed=reading.bad.allowed):
            raise DataError(refusal(reading.bad.first, count=bad, rows=rows, allowed=reading.bad.allowed))
        return tuple(reading.bad.first)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of one reading: nothing at all where the source had ended at its beginning."""

    summary: SideSummary
    end: Place
    left_out: LeftOut
    bad_rows: tuple[str, ...]


class BlockMaker:
    """`start`: where the documents for training begin, in every turn; `backend` makes tokens of them."""

    def __init__(
        self,
        streamed: Streamed,
        data: HubData,
        folder: Folder,
        *,
        start: State,
        backend: Any,  # noqa: ANN401 - tokenizers has no types
        eos_id: int,
        open_rows: Callable[[Side], Rows],
    ) -> None:
        self._streamed = streamed
        self._data = data
        self._folder = folder
        self._start = start
        self._budget = None if data.token_budget is None else parse_count(data.token_budget)
        self._backend = backend
        self._eos_id = eos_id
        self._open_rows = open_rows
        self._turn: Turn | None = None  # the one that the last block was read in, since going on with it is free

    def first_place(self) -> Place:
        return self._turn_begins(0)

    def make(self, number: int, begin: Place) -> BlockRecord:
        """A new block, from `begin` or, if the source has ended there, from the beginning of the next turn."""
        made = self._write(number, begin, documents=self._data.block_documents)
        if not made.summary.documents:
            if begin == self._turn_begins(begin.cycle):
                raise DataError(
                    f"data.path: {self._streamed.name} holds no document to train on behind those of data.split "
                    f"({made.left_out.words() or 'it ends there'})"
                )
            return self.make(number, self._turn_begins(begin.cycle + 1))
        return self._record(number, begin, made)

    def make_again(self, record: BlockRecord) -> BlockRecord:
        """The record of the block as the source gives it now."""
        made = self._write(record.number, record.begin, documents=record.documents)
        return self._record(record.number, record.begin, made) if made.summary.documents else record_of_nothing(record)

    def _write(self, number: int, begin: Place, *, documents: int) -> Made:
        turn, self._turn = self._turn_at(begin), None
        before = turn.left_out
        bad_rows: list[str] = []
        encoded = self._encoded(turn, documents, bad_rows)
        summary = self._folder.write(number, encoded, eos_id=self._eos_id)
        over = summary.documents < documents or (self._budget is not None and turn.tokens >= self._budget)
        if not over:
            self._turn = turn
        end = self._turn_begins(turn.cycle + 1) if over else turn.place
        return Made(summary=summary, end=end, left_out=_difference(turn.left_out, before), bad_rows=tuple(bad_rows))

    def _encoded(self, turn: Turn, documents: int, bad_rows: list[str]) -> Iterator[tuple[str, list[int]]]:
        """Judged before the block is whole, since one that is there counts."""
        yield from self._up_to_the_budget(turn, documents)
        bad_rows += turn.judge()

    def _up_to_the_budget(self, turn: Turn, documents: int) -> Iterator[tuple[str, list[int]]]:
        for texts in in_batches(turn.take(documents)):
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
            for text, encoding in zip(texts, encodings, strict=True):
                yield text, encoding.ids
                turn.tokens += len(encoding.ids) + 1  # and the EOS that closes it
                if self._budget is not None and turn.tokens >= self._budget:
                    return

    def _turn_at(self, begin: Place) -> Turn:
        if self._turn is not None and self._turn.place == begin:
            return self._turn
        return Turn(self._streamed, self._data, begin)

    def _turn_begins(self, cycle: int) -> Place:
        return Place(cycle=cycle, tokens=0, state=self._start)

    def _record(self, number: int, begin: Place, made: Made) -> BlockRecord:
        block, (section,) = self._folder.block(number), made.summary.sections
        side = Side(block, summary=made.summary, token_type=self._folder.token_type)
        return BlockRecord(
            number=number,
            begin=begin,
            end=made.end,
            documents=section.documents,
            predicted=section.predicted,
            text_bytes=section.bytes,
            words=section.words,
            left_out=made.left_out,
            bad_rows=made.bad_rows,
            rows=len(self._open_rows(side)),
            size=size_of(block),
            sha256=digest_of(block),
        )


def record_of_nothing(record: BlockRecord) -> BlockRecord:
    """What a source gives that has ended before the block begins."""
    return dataclasses.replace(record, documents=0, sha256="")


def _difference(after: LeftOut, before: LeftOut) -> LeftOut:
    now, then = dataclasses.asdict(after), dataclasses.asdict(before)
    return LeftOut(**{reason: count - then[reason] for reason, count in now.items()})
