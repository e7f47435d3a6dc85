"""Writes one side of a store; nothing of what is written stays in memory, and what has reached the disk can be gone on
with by another process.

Both files only grow. The header of offsets.npy tells the number of documents and has the same size for any of them, so
it is written first and once more at the end.
"""

import dataclasses
import hashlib
import io
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from runjob.data.label_counts import LabelsSummary
from runjob.data.labels import CODE, NONE, Tagged
from runjob.data.store import SectionSummary, SideSummary, TokenType
from runjob.schemas.errors import DataError

# Of the `array` that holds the tokens of a document; torch runs on little-endian machines only, and so does the store.
TYPE_CODES: dict[TokenType, str] = {"uint8": "B", "uint16": "H", "uint32": "I"}


def token_type(vocab_size: int) -> TokenType:
    """The smallest unsigned type that holds the ids 0 .. vocab_size - 1."""
    if vocab_size <= 2**8:
        return "uint8"
    return "uint16" if vocab_size <= 2**16 else "uint32"


@dataclass(frozen=True, kw_only=True)
class LabelsState:
    """How far labels.bin was."""

    sha256: str
    summary: LabelsSummary


@dataclass(frozen=True, kw_only=True)
class SideState:
    """How far a side was when its files were last on the disk; the digests are of their data up to there."""

    documents: int
    tokens: int
    bytes: int
    words: int
    sections: tuple[SectionSummary, ...]
    tokens_sha256: str
    ends_sha256: str
    labels: LabelsState | None = None


class GrowingFile:
    """A file that is only appended to. `sha256` covers what stands behind its header of `begin` bytes."""

    def __init__(self, path: Path, *, begin: int) -> None:
        self._begin = begin
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._digest = hashlib.sha256()
        self.rewrite(bytes(begin))

    def append(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def rewrite(self, header: bytes) -> None:
        """Another header of the same size."""
        self._file.seek(0)
        self._file.write(header)
        self._file.seek(0, os.SEEK_END)

    def go_on_after(self, size: int, sha256: str) -> None:
        """Keep so many bytes behind the header; DataError if they aren't those that the digest was made of."""
        self._file.flush()
        self._file.truncate(self._begin + size)
        self._file.seek(self._begin)
        while data := self._file.read(2**20):
            self._digest.update(data)
        if self._digest.hexdigest() != sha256:
            raise DataError(
                f"{self._file.name}: isn't what was written there; the half-made store is removed, start again"
            )

    def flush(self) -> str:
        """The digest of all that was written, once it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


class LabelsFile:
    """labels.bin, and what is counted of it on the way."""

    def __init__(self, path: Path, *, classes: int) -> None:
        self._file = GrowingFile(path, begin=0)
        self._counts: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(classes, dtype=np.int64)
        self._spans = self._unmet = 0

    def append(self, tagged: Sequence[Tagged]) -> None:
        """Of each document its labels, with that of its EOS."""
        for one in tagged:
            numbers = np.frombuffer(one.numbers, dtype=np.uint16)
            self._counts += np.bincount(numbers[numbers != NONE], minlength=len(self._counts))
            self._spans += one.spans
            self._unmet += one.unmet
        self._file.append(b"".join(one.numbers for one in tagged))

    @property
    def summary(self) -> LabelsSummary:
        return LabelsSummary(counts=tuple(self._counts.tolist()), spans=self._spans, unmet=self._unmet)

    def flush(self) -> LabelsState:
        return LabelsState(sha256=self._file.flush(), summary=self.summary)

    def go_on_after(self, tokens: int, state: LabelsState) -> None:
        self._file.go_on_after(tokens * 2, state.sha256)
        self._counts = np.array(state.summary.counts, dtype=np.int64)
        self._spans, self._unmet = state.summary.spans, state.summary.unmet

    def close(self) -> None:
        self._file.close()


class SideWriter:
    """tokens.bin and offsets.npy under `path`: EOS, document, EOS, document, ... EOS; and where the head that will
    learn from them has `classes`, labels.bin. With `state` the files of an earlier writer are gone on with from there;
    DataError if they are damaged."""

    def __init__(
        self,
        path: Path,
        *,
        eos_id: int,
        token_type: TokenType,
        state: SideState | None = None,
        classes: int | None = None,
    ) -> None:
        path.mkdir(exist_ok=state is not None)
        self._eos_id = eos_id
        self._code = TYPE_CODES[token_type]
        self._tokens = GrowingFile(path / "tokens.bin", begin=0)
        self._ends = GrowingFile(path / "offsets.npy", begin=len(_header(0)))
        self._labels = None if classes is None else LabelsFile(path / "labels.bin", classes=classes)
        self.documents = self.tokens = self.bytes = self.words = 0
        self._closed: list[SectionSummary] = []
        if state is None:
            self._append([array(self._code, [eos_id])])
            if self._labels is not None:
                self._labels.append([Tagged(numbers=array(CODE, [NONE]), spans=0, unmet=0)])
        else:
            try:
                self._go_on(state)
            except DataError:
                self._shut()
                raise

    def append(self, text: str, ids: Sequence[int]) -> None:
        """One document and the EOS that closes it."""
        self.extend([text], [array(self._code, [*ids, self._eos_id])])

    def extend(self, texts: Sequence[str], rows: Sequence["array[int]"], tagged: Sequence[Tagged] = ()) -> None:
        """Documents with the tokens of each, its EOS among them, and where there are labels those of each token."""
        self._append(rows)
        if self._labels is not None:
            self._labels.append(tagged)
        self.documents += len(texts)
        self.bytes += sum(len(text.encode()) for text in texts)
        self.words += sum(len(text.split()) for text in texts)

    def end_section(self) -> None:
        """What follows is of the mixture's next source."""
        self._closed.append(self._open_section())

    @property
    def sections(self) -> int:
        """How many have ended."""
        return len(self._closed)

    @property
    def predicted(self) -> int:
        """Tokens that training predicts: all but the leading EOS."""
        return self.tokens - 1

    def flush(self) -> SideState:
        """What is written, once it is on the disk."""
        return SideState(
            documents=self.documents,
            tokens=self.tokens,
            bytes=self.bytes,
            words=self.words,
            sections=tuple(self._closed),
            tokens_sha256=self._tokens.flush(),
            ends_sha256=self._ends.flush(),
            labels=None if self._labels is None else self._labels.flush(),
        )

    def close(self) -> SideSummary:
        """Finish both files; what was written in all."""
        self._ends.rewrite(_header(self.documents + 1))
        self._shut()
        labels = None if self._labels is None else self._labels.summary
        return dataclasses.replace(SideSummary.of(*self._closed, self._open_section()), labels=labels)

    def __enter__(self) -> "SideWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()

    def _shut(self) -> None:
        self._tokens.close()
        self._ends.close()
        if self._labels is not None:
            self._labels.close()

    def _go_on(self, state: SideState) -> None:
        width = array(self._code).itemsize
        self._tokens.go_on_after(state.tokens * width, state.tokens_sha256)
        self._ends.go_on_after((state.documents + 1) * 8, state.ends_sha256)
        if self._labels is not None:
            assert state.labels is not None, "the journal is of the same job"
            self._labels.go_on_after(state.tokens, state.labels)
        self.documents, self.tokens, self.bytes, self.words = state.documents, state.tokens, state.bytes, state.words
        self._closed = list(state.sections)

    def _open_section(self) -> SectionSummary:
        closed = SideSummary.of(*self._closed)
        return SectionSummary(
            documents=self.documents - closed.documents,
            predicted=self.tokens - closed.tokens,
            bytes=self.bytes - closed.bytes,
            words=self.words - closed.words,
        )

    def _append(self, rows: Sequence["array[int]"]) -> None:
        ends: np.ndarray[Any, np.dtype[np.int64]] = np.cumsum([len(row) for row in rows], dtype=np.int64) + self.tokens
        if len(ends):
            self._tokens.append(b"".join(rows))
            self._ends.append(ends.astype("<i8").tobytes())
            self.tokens = int(ends[-1])


def _header(length: int) -> bytes:
    """Of a .npy file of so many int64; numpy leaves room in it for the length to grow."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": (length,), "fortran_order": False, "descr": "<i8"})
    return file.getvalue()
