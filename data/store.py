"""The prepared corpus on disk: tokenised once, then only mapped into memory.

    STORE/store.json                    written last: without it there is no store
    STORE/train/tokens.bin              the token stream, in the smallest unsigned type that holds the vocabulary
    STORE/train/offsets.npy             where each document begins in it, and its end (int64, documents + 1)
    STORE/validation/...                the same for the other side
    STORE/tokenizer/                    as Hugging Face saves one

The stream of a side is EOS, first document, EOS, second document, EOS, ... last document, EOS: the leading EOS makes
the first token of the first document a predicted one too, and every document is closed by an EOS that is learnt.
Training rows are views of the stream, so a store serves every sequence length.

The control side reads `store.json` through `read_summary`, so numpy is imported only where tokens are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runjob.schemas.errors import DataError
from runjob.schemas.run import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 4
SideName = Literal["train", "validation"]
TokenType = Literal["uint8", "uint16", "uint32"]
SIDES: tuple[SideName, ...] = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class SideSummary:
    """`tokens` is the length of the stream with every EOS; `bytes` the UTF-8 bytes of the documents' text."""

    documents: int
    tokens: int
    bytes: int

    @property
    def predicted(self) -> int:
        """Every token but the very first is predicted exactly once an epoch."""
        return self.tokens - 1

    def rows(self, sequence_length: int) -> int:
        """Training rows in an epoch; the last one may be short."""
        return -(-self.predicted // sequence_length)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Documents that were read and are in no store, by the reason."""

    empty: int
    short: int
    filtered: int
    duplicates: int

    def words(self) -> str:
        """`3 of white space alone, 12 by data.filter`; empty where nothing was left out."""
        reasons = {
            "of white space alone": self.empty,
            "shorter than data.min_length": self.short,
            "by data.filter": self.filtered,
            "exact copies of an earlier one": self.duplicates,
        }
        return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`tokens` were asked for on the training side; if that was reached, `read_bytes` of the source's were read."""

    tokens: int
    reached: bool
    read_bytes: int
    source_bytes: int

    def words(self, training_tokens: int) -> str:
        if not self.reached:
            return (
                f"the whole corpus holds {training_tokens:,} training tokens, fewer than data.token_budget "
                f"{self.tokens:,}: all of it is used"
            )
        share = 100 * self.read_bytes / self.source_bytes if self.source_bytes else 100.0
        return f"data.token_budget {self.tokens:,} is reached after {share:.3g} % of the corpus; the rest is unused"


@dataclass(frozen=True, kw_only=True)
class TokenizerSummary:
    fingerprint: str
    vocab_size: int
    eos_id: int
    pad_id: int | None


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What store.json says. `fingerprint` names what the store was made from, `content` what came out."""

    format: int
    fingerprint: str
    token_type: TokenType
    train: SideSummary
    validation: SideSummary
    left_out: LeftOut
    budget: Budget | None
    tokenizer: TokenizerSummary
    files: Mapping[str, FileSummary]
    origin: Mapping[str, Any]

    @property
    def content(self) -> str:
        """Equal for two stores exactly if training on them is the same, whatever they were made from."""
        streams = [self.files[f"{side}/tokens.bin"].sha256 for side in SIDES]
        return hashlib.sha256("\n".join([self.token_type, *streams, self.tokenizer.fingerprint]).encode()).hexdigest()


def read_summary(path: Path) -> Summary:
    """The summary of the store at `path`; nothing but store.json is read."""
    file = path / "store.json"
    if not file.is_file():
        raise DataError(f"{path}: holds no store.json, so it is no finished store; prepare the data again")
    raw = read_json(file)
    if raw["format"] != FORMAT:
        raise DataError(f"{file}: store format {raw['format']}, this runjob reads {FORMAT}; prepare the data again")
    return Summary(
        **{
            **raw,
            "train": SideSummary(**raw["train"]),
            "validation": SideSummary(**raw["validation"]),
            "left_out": LeftOut(**raw["left_out"]),
            "budget": None if raw["budget"] is None else Budget(**raw["budget"]),
            "tokenizer": TokenizerSummary(**raw["tokenizer"]),
            "files": {name: FileSummary(**record) for name, record in raw["files"].items()},
        }
    )


class Side:
    """One side's stream and documents, mapped and never copied whole."""

    def __init__(self, path: Path, *, summary: SideSummary, token_type: TokenType) -> None:
        self.path = path
        self.summary = summary
        self.token_type = token_type

    @cached_property
    def tokens(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        import numpy as np

        return np.memmap(self.path / "tokens.bin", dtype=np.dtype(self.token_type).newbyteorder("<"), mode="r")

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        import numpy as np

        offsets: npt.NDArray[np.int64] = np.load(self.path / "offsets.npy", mmap_mode="r")
        return offsets

    def document(self, number: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The tokens of one document without its EOS."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1] - 1]


class Store:
    """An opened store. `open` compares every size, `verify` every byte."""

    def __init__(self, path: Path, summary: Summary) -> None:
        self.path = path
        self.summary = summary
        self.tokenizer = path / "tokenizer"
        self.train = self._side("train", summary.train)
        self.validation = self._side("validation", summary.validation)

    @staticmethod
    def open(path: Path) -> Store:
        store = Store(path, read_summary(path))
        store._refuse(store._wrong_sizes())
        return store

    def verify(self) -> None:
        """Read every file and compare its sha256 with store.json; DataError names the damaged ones."""
        self._refuse(self._wrong_sizes() or self._wrong_digests())

    def _side(self, name: SideName, summary: SideSummary) -> Side:
        return Side(self.path / name, summary=summary, token_type=self.summary.token_type)

    def _wrong_sizes(self) -> list[str]:
        wrong = []
        for name, record in self.summary.files.items():
            file = self.path / name
            size = file.stat().st_size if file.is_file() else None
            if size != record.size:
                wrong.append(f"{name} is missing" if size is None else f"{name}: {size} bytes instead of {record.size}")
        return wrong

    def _wrong_digests(self) -> list[str]:
        records = self.summary.files.items()
        return [f"{name}: sha256 differs" for name, record in records if sha256_of(self.path / name) != record.sha256]

    def _refuse(self, wrong: list[str]) -> None:
        if wrong:
            raise DataError(
                f"{self.path}: the prepared data are damaged ({'; '.join(wrong)}); "
                f"delete this directory, and the next run builds it again"
            )


class PackedRows:
    """Rows of `sequence_length` tokens cut from one side's stream, end to end.

    Row i reads the stream at [i L, i L + L) and predicts the token after each of them, so neighbouring rows share one
    token and every token but the very first is a label exactly once. The last row may be short; nothing is dropped.
    """

    def __init__(self, side: Side, sequence_length: int) -> None:
        if sequence_length < 1:
            raise ValueError(f"a row needs at least one token, not {sequence_length}")
        self.side = side
        self.sequence_length = sequence_length
        self.predicted = side.summary.predicted
        self.bytes = side.summary.bytes

    def __len__(self) -> int:
        return self.side.summary.rows(self.sequence_length)

    def row(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(input_ids, labels) of one row, both int64 and of the row's own length."""
        import numpy as np

        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        start = number * self.sequence_length
        end = min(start + self.sequence_length, self.predicted)
        window = np.asarray(self.side.tokens[start : end + 1]).astype(np.int64)
        return window[:-1], window[1:]


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
