"""Blocks of a stream: so many kept documents, tokenised, in a folder of their own, and one line about each in an index.

    source     | 10,000 documents | 10,000 documents | ... | the rest |  10,000 documents | ...
    cycle      0                                                      1 (the source again, from its beginning)
    block      0                  1                        7           8
    index      {"number": 0, "begin": ..., "end": ..., "documents": 10000, "rows": 5120, "sha256": ...}
    folder     block-00000000/tokens.bin, offsets.npy                     as one side of a store (data/store.py)

The index grows by a line when a block is whole on disk, and never changes. It belongs to the run; folders belong to a
cache and may vanish: `begin` says where the source has to be read again, `sha256` whether it still says the same. The
rows of all blocks are numbered on, so with the index any position of the stream is found without reading the source.
"""

import bisect
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.file_sums import sha256_of
from runjob.data.store import LeftOut, SectionSummary, Side, SideSummary, Store, TokenType
from runjob.data.writer import SideWriter
from runjob.schemas.errors import DataError
from runjob.schemas.quantities import counted
from runjob.schemas.run import RunDir, cache_home, sync_path

# Of text handed to the tokenizer at once.
BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a block begins or ends: in which turn through the source, after how many of its training tokens, and the
    source's own word for it."""

    cycle: int
    tokens: int
    state: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """One line of the index. `end` is where the next block begins; `size` in bytes on disk; `sha256` over the files;
    `rows` in the layout of the run; `bad_rows` the first of those that could not be read, in words."""

    number: int
    begin: Place
    end: Place
    documents: int
    predicted: int
    text_bytes: int
    words: int
    left_out: LeftOut
    bad_rows: tuple[str, ...]
    rows: int
    size: int
    sha256: str

    @property
    def summary(self) -> SideSummary:
        return SideSummary.of(
            SectionSummary(documents=self.documents, predicted=self.predicted, bytes=self.text_bytes, words=self.words)
        )

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> "BlockRecord":
        raw = json.loads(line)
        places = {name: Place(**raw[name]) for name in ("begin", "end")}
        out = {"left_out": LeftOut(**raw["left_out"]), "bad_rows": tuple(raw["bad_rows"])}
        return BlockRecord(**{**raw, **places, **out})


class Index:
    """The records of a run's blocks, block 0 first. One process appends, any number read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[BlockRecord] = []
        self._read = 0
        self._first_rows = [0]

    @property
    def rows(self) -> int:
        """Rows of all blocks known so far."""
        return self._first_rows[-1]

    def first_row(self, number: int) -> int:
        return self._first_rows[number]

    def begun_in(self, rows: range) -> list[BlockRecord]:
        """The blocks whose first row (or first position: it is the same) is among these, as far as they are known."""
        first, behind = (bisect.bisect_left(self._first_rows, row) for row in (rows.start, rows.stop))
        return self.records[first:behind]

    def block_of(self, row: int) -> BlockRecord:
        """The block that holds a row (or a position: those of a block are its rows in another order)."""
        return self.records[bisect.bisect_right(self._first_rows, row) - 1]

    def refresh(self) -> None:
        """Read what was appended since; half a line is left for the next time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._note(BlockRecord.from_line(line))
                    self._read += len(line)

    def mend(self) -> None:
        """For the one process that appends: cut off half a line, which somebody killed has left."""
        self.refresh()
        if self.path.exists() and self.path.stat().st_size > self._read:
            os.truncate(self.path, self._read)

    def append(self, record: BlockRecord) -> None:
        """On disk when this returns."""
        assert record.number == len(self.records)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, record.to_line())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_path(self.path.parent)
        self._read += len(record.to_line())
        self._note(record)

    def _note(self, record: BlockRecord) -> None:
        self.records.append(record)
        self._first_rows.append(self.rows + record.rows)


class Folder:
    """Where the blocks of one run lie."""

    def __init__(self, path: Path, *, token_type: TokenType) -> None:
        self.path = path
        self.token_type = token_type

    @staticmethod
    def of_run(run: RunDir, store: Store) -> "Folder":
        """In the cache and not in the run: blocks can be read again, and a run that is copied elsewhere stays small."""
        return Folder(cache_home() / "streams" / run.id, token_type=store.summary.token_type)

    def block(self, number: int) -> Path:
        return self.path / f"block-{number:08d}"

    def numbers(self) -> list[int]:
        """Blocks that are here, whole ones only."""
        return sorted(int(path.name.removeprefix("block-")) for path in self.path.glob("block-*"))

    def side(self, record: BlockRecord) -> Side:
        return Side(self.block(record.number), summary=record.summary, token_type=self.token_type)

    def drop(self, number: int) -> None:
        """Out of sight first: whoever finds a block finds all of it. Mappings that others hold stay good."""
        self.block(number).rename(self._dropped(number))
        shutil.rmtree(self._dropped(number))

    def aside(self, number: int) -> Path:
        """Where a block of an earlier attempt waits to be looked at."""
        return self.path / f".aside-{number:08d}"

    def set_aside(self) -> None:
        """Hide what an earlier attempt left, until it has been compared with the index."""
        for number in self.numbers():
            if self.aside(number).exists():
                self.forget(number)
            self.block(number).rename(self.aside(number))

    def put_back(self, number: int) -> None:
        self.aside(number).rename(self.block(number))

    def forget(self, number: int) -> None:
        shutil.rmtree(self.aside(number))

    def numbers_aside(self) -> list[int]:
        return sorted(int(path.name.removeprefix(".aside-")) for path in self.path.glob(".aside-*"))

    def clear_rests(self) -> None:
        """What killed writers left."""
        for pattern in (".dropped-*", ".building-*"):
            for rest in self.path.glob(pattern):
                shutil.rmtree(rest)

    def _dropped(self, number: int) -> Path:
        return self.path / f".dropped-{number:08d}"

    def write(self, number: int, documents: Iterable[tuple[str, list[int]]], *, eos_id: int) -> SideSummary:
        """A block of these documents; it is there when all of it is on disk."""
        building = self.path / f".building-{number:08d}"
        if building.exists():
            shutil.rmtree(building)
        self.path.mkdir(parents=True, exist_ok=True)
        with SideWriter(building, eos_id=eos_id, token_type=self.token_type) as writer:
            for text, ids in documents:
                writer.append(text, ids)
            summary = writer.close()
        if summary.documents:
            for file in building.iterdir():
                sync_path(file)
            sync_path(building)
            building.rename(self.block(number))
            sync_path(self.path)
        return summary


def digest_of(block: Path) -> str:
    """sha256 over a block's files."""
    names = ("tokens.bin", "offsets.npy")
    return hashlib.sha256("\n".join(sha256_of(block / name) for name in names).encode()).hexdigest()


def size_of(block: Path) -> int:
    return sum(file.stat().st_size for file in block.iterdir())


def refuse_other(record: BlockRecord, found: str, *, source: str) -> None:
    """DataError if a block that was read again is not what it was."""
    if found != record.sha256:
        held = f"{counted(record.documents, 'document')} of turn {record.begin.cycle + 1} through it"
        raise DataError(
            f"data.path: {source} changed since this run read it: block {record.number} ({held}) has another content "
            f"now; a run can only go on with the data that it began with: bring them back, or start a new job"
        )


def in_batches(texts: Iterator[str], *, characters: int = BATCH_CHARACTERS) -> Iterator[list[str]]:
    """Neighbours of about so many characters together, at least one."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
