"""The making of one store: the tokenizer if it is to be trained, then both sides, then the summary, then the rename.

One pass over the source where the tokenizer exists, one more where it is trained, one more where copies are looked for;
the corpus streams by in each, and only one batch of documents is ever in memory.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.documents import Document
from runjob.data.progress import Reporter
from runjob.data.selection import Selection
from runjob.data.split import divide, refuse_empty_sides, sides_of
from runjob.data.store import (
    FORMAT,
    Budget,
    FileSummary,
    LeftOut,
    SideName,
    SideSummary,
    Summary,
    sha256_of,
)
from runjob.data.writer import SideWriter, token_type
from runjob.schemas.errors import DataError
from runjob.schemas.job import Split
from runjob.schemas.run import write_json


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A document, its place, and how far the corpus was read when it came (reading runs ahead of writing)."""

    side: SideName
    section: int
    document: Document
    left_out: LeftOut
    read_bytes: int


@dataclass(frozen=True, kw_only=True)
class Written:
    """What went into the store, and the last document if it was the one that reached the budget."""

    sides: Mapping[SideName, SideSummary]
    last: Chosen | None


@dataclass(frozen=True, kw_only=True)
class Build:
    """`tokenizer` is None where one of `vocab_size` entries is to be trained; `token_budget` None takes everything."""

    selection: Selection
    unchanged: Callable[[], bool]
    split: Split
    deduplicate: bool
    token_budget: int | None
    seed: int
    tokenizer: Any
    vocab_size: int
    reporter: Reporter
    batch_characters: int

    def write(self, path: Path, *, fingerprint: str, origin: dict[str, Any]) -> None:
        """Make the store at `path`; whatever interrupts this, `path` holds all of it or does not exist."""
        building = path.with_name(f".building-{path.name}")
        if building.exists():  # of a process that was killed; we hold the lock, so nobody is writing there
            shutil.rmtree(building)
        building.mkdir(parents=True)
        if self.deduplicate:
            self._find_copies(building)
        tokenizer = self.tokenizer or self._train_tokenizer()
        written = self._tokenise(building, tokenizer)
        tokenizers.save(tokenizer, building / "tokenizer")
        self.reporter.begin("checking")
        if not self.unchanged():
            raise DataError("data.path: the corpus changed while it was being read; start again when it is at rest")
        summary = Summary(
            format=FORMAT,
            fingerprint=fingerprint,
            token_type=token_type(len(tokenizer)),
            train=written.sides["train"],
            validation=written.sides["validation"],
            test=written.sides.get("test"),
            left_out=written.last.left_out if written.last else self.selection.left_out,
            budget=self._budget(written.last),
            tokenizer=tokenizers.summarise(tokenizer),
            files=_list_files(building),
            origin=origin,
        )
        write_json(building / "store.json", dataclasses.asdict(summary))
        _flush(building)
        building.rename(path)
        _flush(path.parent)

    def _find_copies(self, building: Path) -> None:
        self.reporter.begin("looking for copies")
        self.selection.leave_out_copies(
            scratch=building / "copies", advance=lambda: self.reporter.advance(documents=1, tokens=0)
        )
        self.reporter.end()

    def _budget(self, last: Chosen | None) -> Budget | None:
        if self.token_budget is None:
            return None
        total = self.selection.corpus.total
        read = total if last is None else last.read_bytes
        return Budget(tokens=self.token_budget, reached=last is not None, read_bytes=read, source_bytes=total)

    def _documents(self) -> Iterator[Chosen]:
        selection = self.selection
        for side, part, document in divide(selection.documents(), self.split, seed=self.seed):
            yield Chosen(
                side=side,
                section=part.section,
                document=document,
                left_out=selection.left_out,
                read_bytes=selection.corpus.done,
            )

    def _train_tokenizer(self) -> Any:  # noqa: ANN401
        self.reporter.begin("training the tokenizer")
        counts: dict[SideName, int] = dict.fromkeys(sides_of(self.split), 0)

        def training_texts() -> Iterator[str]:
            # All of the training side, whatever the budget: runs that differ in it alone share one vocabulary.
            for chosen in self._documents():
                counts[chosen.side] += 1
                self.reporter.advance(documents=1, tokens=0)
                if chosen.side == "train":  # the other sides stay unseen, by the tokenizer too
                    yield chosen.document.text

        tokenizer = tokenizers.train_bpe(training_texts(), vocab_size=self.vocab_size)
        self.reporter.end()
        refuse_empty_sides(self.split, counts, left_out=self.selection.left_out)
        return tokenizer

    def _tokenise(self, building: Path, tokenizer: Any) -> Written:  # noqa: ANN401
        self.reporter.begin("tokenising")
        backend = tokenizers.backend_for_corpus(tokenizer)
        eos_id, width = tokenizers.end_of_document(tokenizer), token_type(len(tokenizer))
        with ExitStack() as stack:
            sides = {
                side: stack.enter_context(SideWriter(building / side, eos_id=eos_id, token_type=width))
                for side in sides_of(self.split)
            }
            last = self._write_sides(sides, backend)
            written = Written(sides={side: writer.close() for side, writer in sides.items()}, last=last)
        self.reporter.end()
        counts = {side: summary.documents for side, summary in written.sides.items()}
        if last is not None and not counts["validation"]:
            raise DataError(
                f"data.token_budget: {self.token_budget:,} is reached after {counts['train']} training document(s), "
                f"before the first one for validation; raise it, or take those that come first: "
                f"split: {{kind: first, validation: 100}}"
            )
        refuse_empty_sides(self.split, counts, left_out=self.selection.left_out)
        return written

    def _write_sides(self, sides: Mapping[SideName, SideWriter], backend: Any) -> Chosen | None:  # noqa: ANN401
        """Everything up to the training document that reaches the budget; that document, if there is one."""
        for batch in _batches(self._documents(), characters=self.batch_characters):
            texts = [chosen.document.text for chosen in batch]
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
            for chosen, text, encoding in zip(batch, texts, encodings, strict=True):
                writer = sides[chosen.side]
                while writer.sections < chosen.section:
                    writer.end_section()
                writer.append(text, encoding.ids)
                if self.token_budget is not None and sides["train"].predicted >= self.token_budget:
                    return chosen
            self.reporter.advance(documents=len(batch), tokens=sum(map(len, encodings)))
        return None


def _batches(documents: Iterable[Chosen], *, characters: int) -> Iterator[list[Chosen]]:
    """Neighbouring documents of about so many characters together, at least one."""
    batch: list[Chosen] = []
    size = 0
    for chosen in documents:
        batch.append(chosen)
        size += len(chosen.document.text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _list_files(directory: Path) -> dict[str, FileSummary]:
    """Size and sha256 of every file, after it has reached the disk."""
    files = {}
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        _flush(file)
        name = file.relative_to(directory).as_posix()
        files[name] = FileSummary(size=file.stat().st_size, sha256=sha256_of(file))
    return files


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
