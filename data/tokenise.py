"""Documents to the two or three sides of a store, part by part; after every part all of it is on the disk and the
journal says so, so that a preparation that is killed loses no more than the part it was in.

    documents -> batches -> encode (data/encode.py) -> sides (data/writer.py) -> journal (data/journal.py)
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runjob.data import tokenizers
from runjob.data.beside import Numbered
from runjob.data.corpus import Part
from runjob.data.documents import Document
from runjob.data.encode import Batch, Encoded, Mark, encode
from runjob.data.journal import End, Journal, made_by, read_journal
from runjob.data.pairs import Relations
from runjob.data.progress import Reporter
from runjob.data.selection import Selection
from runjob.data.split import divide, sides_of
from runjob.data.store import SideName, SideSummary
from runjob.data.text_pairs import Roles
from runjob.data.writer import SideWriter, token_type
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Split

CHANGED = "data.path: the corpus changed while it was being read; start again when it is at rest"
Divided = Iterator[tuple[SideName, Part, Document]]
Sides = Mapping[SideName, SideWriter]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """In characters: of text that is encoded at once, and of a part, which is what a killed preparation loses."""

    batch: int
    part: int


@dataclass(frozen=True, kw_only=True)
class Written:
    """What went into the store, and how it ended."""

    sides: Mapping[SideName, SideSummary]
    end: End


@dataclass(frozen=True, kw_only=True)
class Tokenising:
    """`token_budget` None takes everything. `unchanged`: is the corpus still what the store is called by? `tags` of
    what stands beside the text, None where it stands alone."""

    selection: Selection
    unchanged: Callable[[], bool]
    split: Split
    seed: int
    token_budget: int | None
    reporter: Reporter
    sizes: Sizes
    tags: Numbered | None = None

    @property
    def together(self) -> bool:
        """Does a row make several documents, which no side may part?"""
        return isinstance(self.tags, Relations | Roles)

    def documents(self) -> Divided:
        """What the store will hold, in its order."""
        return divide(self.selection.documents(), self.split, seed=self.seed)

    def write(self, folder: Path, tokenizer: Any, *, journal: Path) -> Written:  # noqa: ANN401
        """The sides under `folder`, from where the journal says that they are whole."""
        before = read_journal(journal)
        eos_id, width = tokenizers.end_of_document(tokenizer), token_type(len(tokenizer))
        classes = None if self.tags is None else len(self.tags.names)
        sides: dict[SideName, SideWriter] = {}
        with ExitStack() as stack:
            for side in sides_of(self.split):
                state = None if before is None else before.sides[side]
                if state is None:
                    shutil.rmtree(folder / side, ignore_errors=True)  # of a part that was never noted
                writer = SideWriter(folder / side, eos_id=eos_id, token_type=width, state=state, classes=classes)
                sides[side] = stack.enter_context(writer)
            if before is not None and before.end is not None:
                end = before.end
            else:
                end = self._write_parts(sides, tokenizer, journal, before)
            return Written(sides={side: writer.close() for side, writer in sides.items()}, end=end)

    def _write_parts(self, sides: Sides, tokenizer: Any, journal: Path, before: Journal | None) -> End:  # noqa: ANN401
        documents, written, characters = self.documents(), 0, 0
        if before is not None:
            written = before.documents
            self._find_place(documents, written)
        done = 0 if before is None else before.read_bytes
        self.reporter.begin("tokenising", done_bytes=done, share=self._share(sides, done))
        encoded = encode(
            self._batches(documents),
            tokenizers.backend_for_corpus(tokenizer),
            eos_id=tokenizers.end_of_document(tokenizer),
            token_type=token_type(len(tokenizer)),
            tags=self.tags,
        )
        end = None
        with closing(encoded):
            for one in encoded:
                end = self._write_batch(sides, one)
                if end is not None:
                    break
                written += len(one.rows)
                characters += one.batch.characters
                if characters >= self.sizes.part:
                    self._note(journal, sides, documents=written, read_bytes=one.batch.read_bytes, end=None)
                    characters = 0
        if end is None:
            total = self.selection.corpus.total
            end = End(left_out=self.selection.left_out, read_bytes=total, budget_reached=False)
            self.reporter.reach(total, documents=0, tokens=0)  # what came after the last document was left out
        self.reporter.end()
        self._note(journal, sides, documents=written, read_bytes=end.read_bytes, end=end)
        return end

    def _find_place(self, documents: Divided, count: int) -> None:
        self.reporter.begin("finding the place again")
        for number, _ in enumerate(itertools.islice(documents, count), 1):
            self.reporter.reach(self.selection.corpus.done, documents=1, tokens=0, share=number / count)
        self.reporter.end()

    def _batches(self, documents: Divided) -> Iterator[Batch]:
        """Neighbouring documents of one section, of about so many characters together, at least one."""
        corpus, selection, marked = self.selection.corpus, self.selection, self.token_budget is not None
        batch: Batch | None = None
        for side, part, document in documents:
            if batch is None or batch.characters >= self.sizes.batch or part.section != batch.section:
                if batch is not None:
                    yield batch
                batch = Batch(section=part.section)
            batch.sides.append(side)
            batch.texts.append(document.text)
            batch.labelled.append(document.labelled)
            batch.characters += len(document.text)
            batch.read_bytes = corpus.done
            if marked:
                batch.marks.append(Mark(left_out=selection.left_out, read_bytes=corpus.done))
        if batch is not None:
            yield batch

    def _write_batch(self, sides: Sides, encoded: Encoded) -> End | None:
        """All of it, or all up to the training document that reaches the budget: then the end of the store."""
        batch, rows = encoded.batch, encoded.rows
        last = self._last_within_budget(sides["train"], encoded)
        if last is not None:
            rows = rows[: last + 1]
        for side, writer in sides.items():
            while writer.sections < batch.section:
                writer.end_section()
            chosen = [number for number in range(len(rows)) if batch.sides[number] == side]
            tagged = [encoded.tagged[number] for number in chosen] if self.tags is not None else []
            writer.extend([batch.texts[number] for number in chosen], [rows[number] for number in chosen], tagged)
        self.reporter.reach(
            batch.read_bytes,
            documents=len(rows),
            tokens=sum(map(len, rows)) - len(rows),  # without the EOS of each
            share=self._share(sides, batch.read_bytes),
        )
        if last is None:
            return None
        return End(left_out=batch.marks[last].left_out, read_bytes=batch.marks[last].read_bytes, budget_reached=True)

    def _last_within_budget(self, train: SideWriter, encoded: Encoded) -> int | None:
        """The place in the batch of the training document that reaches the budget."""
        if self.token_budget is None:
            return None
        numbers = [number for number, side in enumerate(encoded.batch.sides) if side == "train"]
        ends = train.predicted + np.cumsum([len(encoded.rows[number]) for number in numbers], dtype=np.int64)
        reached = int(np.searchsorted(ends, self.token_budget))
        return numbers[reached] if reached < len(numbers) else None

    def _share(self, sides: Sides, read_bytes: int) -> float:
        """Of the corpus or of the budget, whichever ends first."""
        total = self.selection.corpus.total
        budget = sides["train"].predicted / self.token_budget if self.token_budget else 0.0
        return min(1.0, max(read_bytes / total if total else 0.0, budget))

    def _note(self, journal: Path, sides: Sides, *, documents: int, read_bytes: int, end: End | None) -> None:
        """Bring everything to the disk, then say so; what was read of a changed corpus is never noted."""
        states = {side: writer.flush() for side, writer in sides.items()}
        if not self.unchanged():
            raise DataError(CHANGED)
        Journal(made_by=made_by(), documents=documents, read_bytes=read_bytes, sides=states, end=end).write(journal)
