"""Writes one side of a store, a document at a time; nothing of what is written stays in memory."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from runjob.data.store import SectionSummary, SideSummary, TokenType


def token_type(vocab_size: int) -> TokenType:
    """The smallest unsigned type that holds the ids 0 .. vocab_size - 1."""
    if vocab_size <= 2**8:
        return "uint8"
    return "uint16" if vocab_size <= 2**16 else "uint32"


class SideWriter:
    """tokens.bin and offsets.npy under `path`: EOS, document, EOS, document, ... EOS."""

    def __init__(self, path: Path, *, eos_id: int, token_type: TokenType) -> None:
        path.mkdir()
        self._path = path
        self._eos_id = eos_id
        self._dtype = np.dtype(token_type).newbyteorder("<")
        self._tokens = (path / "tokens.bin").open("wb")
        # Ends of documents go through a plain file, because the header of offsets.npy tells their number.
        self._ends = (path / "offsets.raw").open("wb")
        self.documents = 0
        self.tokens = 0
        self.bytes = 0
        self.words = 0
        self._closed: list[SectionSummary] = []
        self._write(np.array([eos_id]))
        self._ends.write(self.tokens.to_bytes(8, "little"))

    def append(self, text: str, ids: Sequence[int]) -> None:
        """One document and the EOS that closes it."""
        self._write(np.array([*ids, self._eos_id]))
        self._ends.write(self.tokens.to_bytes(8, "little"))
        self.documents += 1
        self.bytes += len(text.encode())
        self.words += len(text.split())

    def end_section(self) -> None:
        """What follows is of the mixture's next source."""
        closed = SideSummary.of(*self._closed)
        self._closed.append(
            SectionSummary(
                documents=self.documents - closed.documents,
                predicted=self.tokens - closed.tokens,
                bytes=self.bytes - closed.bytes,
                words=self.words - closed.words,
            )
        )

    @property
    def sections(self) -> int:
        """How many have ended."""
        return len(self._closed)

    @property
    def predicted(self) -> int:
        """Tokens that training predicts: all but the leading EOS."""
        return self.tokens - 1

    def close(self) -> SideSummary:
        """Finish both files and the last section; what was written in all."""
        self.end_section()
        self._shut()
        raw = self._path / "offsets.raw"
        offsets = np.lib.format.open_memmap(
            self._path / "offsets.npy", mode="w+", dtype=np.dtype("<i8"), shape=(self.documents + 1,)
        )
        offsets[:] = np.memmap(raw, dtype=np.dtype("<i8"), mode="r")
        offsets.flush()
        raw.unlink()
        return SideSummary.of(*self._closed)

    def __enter__(self) -> "SideWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()

    def _shut(self) -> None:
        self._tokens.close()
        self._ends.close()

    def _write(self, ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
        self._tokens.write(ids.astype(self._dtype).tobytes())
        self.tokens += len(ids)
