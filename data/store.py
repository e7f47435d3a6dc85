"""The prepared corpus on disk: tokenised once, then only mapped into memory.

    STORE/store.json                    written last: without it there is no store; store.sha256 is its sum
    STORE/train/tokens.bin              the token stream, in the smallest unsigned type that holds the vocabulary
    STORE/train/offsets.npy             where each document begins in it, and its end (int64, documents + 1)
    STORE/train/labels.bin              a number for each token, where the job learns from labels (data/labels.py)
    STORE/train/*.parts                 sums of each MiB of these two (data/file_sums.py); older stores have none
    STORE/validation/..., STORE/test/...  the same for the other sides; without a test side there is no such folder
    STORE/tokenizer/                    as Hugging Face saves one

The stream of a side is EOS, first document, EOS, second document, EOS, ... last document, EOS: the leading EOS makes
the first token of the first document a predicted one too, and every document is closed by an EOS that is learnt.
A mixture's sources are sections of the stream, one after another; the EOS that closes a section opens the next one.
Training rows are views of one section's stream, so a store serves every sequence length.

The control side reads `store.json` through `read_summary`, so numpy is imported only where tokens are.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runjob.data.file_sums import CheckedFile, FileSummary, sha256_of, sums_beside
from runjob.data.label_counts import LabelsSummary, read_labels
from runjob.schemas.errors import DataError
from runjob.schemas.quantities import counted
from runjob.schemas.run import read_json, sync_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 5
SUM = "store.sha256"
SideName = Literal["train", "validation", "test"]
TokenType = Literal["uint8", "uint16", "uint32"]
SIDES: tuple[SideName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class SectionSummary:
    """What one source of a mixture brought to a side. `predicted` tokens: its documents and the EOS of each; `bytes`
    of their text in UTF-8; `words` between white space."""

    documents: int
    predicted: int
    bytes: int
    words: int

    def rows(self, sequence_length: int) -> int:
        """Rows in an epoch; the last one may be short."""
        return -(-self.predicted // sequence_length)


@dataclass(frozen=True, kw_only=True)
class SideSummary:
    """`tokens` is the length of the stream with every EOS; the rest is summed over the sections. `labels` None: the job
    learns from text alone."""

    documents: int
    tokens: int
    bytes: int
    words: int
    sections: tuple[SectionSummary, ...]
    labels: LabelsSummary | None = None

    @staticmethod
    def of(*sections: SectionSummary) -> SideSummary:
        return SideSummary(
            documents=sum(section.documents for section in sections),
            tokens=sum(section.predicted for section in sections) + 1,
            bytes=sum(section.bytes for section in sections),
            words=sum(section.words for section in sections),
            sections=sections,
        )

    @property
    def predicted(self) -> int:
        """Every token but the very first is predicted exactly once an epoch."""
        return self.tokens - 1

    def rows(self, sequence_length: int) -> int:
        """Rows in an epoch; none runs from one section into the next."""
        return sum(section.rows(sequence_length) for section in self.sections)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Documents that were read and are in no store, by the reason."""

    bad: int
    empty: int
    short: int
    filtered: int
    duplicates: int

    def plus(self, other: LeftOut) -> LeftOut:
        mine = dataclasses.asdict(self)
        return LeftOut(**{reason: count + mine[reason] for reason, count in dataclasses.asdict(other).items()})

    def words(self) -> str:
        """`3 of white space alone, 12 by data.filter`; empty where nothing was left out."""
        reasons = {
            "that can't be read": self.bad,
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
                f"the whole corpus holds {counted(training_tokens, 'training token')}, fewer than data.token_budget "
                f"{self.tokens:,}: all of it is used"
            )
        share = 100 * self.read_bytes / self.source_bytes if self.source_bytes else 100.0
        return f"data.token_budget {self.tokens:,} is reached after {share:.3g} % of the corpus; the rest is unused"


@dataclass(frozen=True, kw_only=True)
class TokenizerSummary:
    """`eos_id` closes every document: the end-of-text token, or what separates two texts where there is none. `cls_id`
    and `sep_id` frame a row that is read from both sides, where the tokenizer has them."""

    fingerprint: str
    vocab_size: int
    eos_id: int
    pad_id: int | None
    cls_id: int | None
    sep_id: int | None
    mask_id: int | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What store.json says. `fingerprint` names what the store was made from, `content` what came out."""

    format: int
    fingerprint: str
    token_type: TokenType
    train: SideSummary
    validation: SideSummary
    test: SideSummary | None
    left_out: LeftOut
    budget: Budget | None
    tokenizer: TokenizerSummary
    files: Mapping[str, FileSummary]
    origin: Mapping[str, Any]

    @property
    def content(self) -> str:
        """Equal for two stores exactly if training on them is the same, whatever they were made from."""
        streams = [self.files[f"{side}/tokens.bin"].sha256 for side in self.sides()]
        borders = [str([section.predicted for section in summary.sections]) for summary in self.sides().values()]
        labels = [record.sha256 for name, record in sorted(self.files.items()) if name.endswith("/labels.bin")]
        parts = [self.token_type, *streams, *borders, self.tokenizer.fingerprint, *labels]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def sides(self) -> dict[SideName, SideSummary]:
        """The sides that the store has."""
        sides: dict[SideName, SideSummary] = {"train": self.train, "validation": self.validation}
        return sides if self.test is None else {**sides, "test": self.test}


def read_summary(path: Path) -> Summary:
    """The summary of the store at `path`; nothing but store.json is read."""
    file = path / "store.json"
    if not file.is_file():
        raise DataError(f"{path}: holds no store.json, so it is no finished store; prepare the data again")
    raw = read_json(file)
    refuse_other_sum(file)
    if raw["format"] != FORMAT:
        raise DataError(f"{file}: store format {raw['format']}, this runjob reads {FORMAT}; prepare the data again")
    return Summary(
        **{
            **raw,
            "train": _read_side(raw["train"]),
            "validation": _read_side(raw["validation"]),
            "test": None if raw["test"] is None else _read_side(raw["test"]),
            "left_out": LeftOut(**raw["left_out"]),
            "budget": None if raw["budget"] is None else Budget(**raw["budget"]),
            "tokenizer": TokenizerSummary(**raw["tokenizer"]),
            "files": {name: FileSummary(**record) for name, record in raw["files"].items()},
        }
    )


def write_sum(file: Path) -> None:
    """Beside store.json, which vouches for all the others; as `sha256sum --check` reads it."""
    beside = file.parent / SUM
    beside.write_text(f"{sha256_of(file)}  {file.name}\n", encoding="utf-8")
    sync_path(beside)


def refuse_other_sum(file: Path) -> None:
    """DataError if store.json is not what was written; a store of before there were sums has none."""
    beside = file.parent / SUM
    if beside.exists() and beside.read_bytes() != f"{sha256_of(file)}  {file.name}\n".encode():
        raise DataError(
            f"{file.parent}: the prepared data are damaged (store.json and {SUM} disagree); "
            f"delete this directory, and the next run builds it again"
        )


def _read_side(raw: dict[str, Any]) -> SideSummary:
    sections = tuple(SectionSummary(**section) for section in raw["sections"])
    # stores that were made before there were labels have none
    labels = read_labels(raw["labels"]) if raw.get("labels") is not None else None
    return SideSummary(**{**raw, "sections": sections, "labels": labels})


class SideFiles:
    """tokens.bin and offsets.npy of a side, mapped, and checked as far as they are read."""

    def __init__(self, path: Path, token_type: TokenType) -> None:
        self._path = path
        self._token_type = token_type
        self._checked = CheckedFile(path / "tokens.bin")
        self._checked_labels = CheckedFile(path / "labels.bin")

    def read(self, first: int, end: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Tokens first .. end - 1 of the stream; DataError if they are not what was prepared."""
        width = self._tokens.itemsize
        self._checked.check(first * width, min(end, len(self._tokens)) * width)
        return self._tokens[first:end]

    def read_labels(self, first: int, end: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The labels of the same tokens."""
        self._checked_labels.check(2 * first, 2 * min(end, len(self._labels)))
        return self._labels[first:end]

    def read_all(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        return self.read(0, len(self._tokens))

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """All of them checked at once: eight bytes a document, and whoever seeks in them reads all over."""
        import numpy as np

        CheckedFile(self._path / "offsets.npy").check_all()
        offsets: npt.NDArray[np.int64] = np.load(self._path / "offsets.npy", mmap_mode="r")
        return offsets

    @cached_property
    def _tokens(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        import numpy as np

        return np.memmap(self._path / "tokens.bin", dtype=np.dtype(self._token_type).newbyteorder("<"), mode="r")

    @cached_property
    def _labels(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        import numpy as np

        return np.memmap(self._path / "labels.bin", dtype=np.dtype("<u2"), mode="r")


class Side:
    """One side's stream and documents, mapped and never copied whole; or one section of it, which begins at `first`.

    `read` and `tokens` are of the whole stream for a section too, and `offsets`, which are places in it, those of its
    own documents. What they give has been checked; DataError names the file that is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        summary: SideSummary,
        token_type: TokenType,
        first: int = 0,
        first_document: int = 0,
        files: SideFiles | None = None,
    ) -> None:
        self.path = path
        self.summary = summary
        self.token_type = token_type
        self.first = first
        self._first_document = first_document
        self._files = files or SideFiles(path, token_type)

    def read(self, first: int, end: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Tokens first .. end - 1 of the stream, where only these are wanted of a corpus of any size."""
        return self._files.read(first, end)

    def read_labels(self, first: int, end: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The labels of these tokens (data/labels.py), of a side that has any."""
        return self._files.read_labels(first, end)

    @property
    def tokens(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """All of the stream; every part of it that nobody has read is read for that."""
        return self._files.read_all()

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        return self._files.offsets[self._first_document : self._first_document + self.summary.documents + 1]

    def sections(self) -> tuple[Side, ...]:
        """What each source of a mixture brought, as a side of its own; of any other corpus the side itself."""
        sections, token, document = [], self.first, self._first_document
        for section in self.summary.sections:
            summary = SideSummary.of(section)
            sections.append(
                Side(
                    self.path,
                    summary=summary,
                    token_type=self.token_type,
                    first=token,
                    first_document=document,
                    files=self._files,
                )
            )
            token, document = token + section.predicted, document + section.documents
        return tuple(sections)

    def document(self, number: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The tokens of one document without its EOS."""
        return self.read(int(self.offsets[number]), int(self.offsets[number + 1]) - 1)


class Store:
    """An opened store. `open` compares every size; before each attempt `verify_small` reads what does not grow with the
    corpus, and the rest is checked as it is read. `verify` reads every byte."""

    def __init__(self, path: Path, summary: Summary) -> None:
        self.path = path
        self.summary = summary
        self.tokenizer = path / "tokenizer"
        self.train = self._side("train", summary.train)
        self.validation = self._side("validation", summary.validation)
        self.test = None if summary.test is None else self._side("test", summary.test)

    @staticmethod
    def open(path: Path) -> Store:
        store = Store(path, read_summary(path))
        store._refuse(store._wrong_sizes())
        return store

    def verify(self, *, told: Callable[[int], None] | None = None) -> None:
        """Read every file and compare its sha256 with store.json; DataError names the damaged ones."""
        self._refuse(self._wrong_sizes() or self._wrong_digests(self.summary.files, told))

    def verify_small(self, *, told: Callable[[int], None] | None = None) -> None:
        """The same of every file but those with sums of parts; of a store of before there were such, of all."""
        self._refuse(self._wrong_sizes() or self._wrong_digests(self._without_parts(), told))

    def size(self, *, small: bool = False) -> int:
        """In bytes; `small`: of what `verify_small` reads."""
        files = self._without_parts() if small else self.summary.files
        return sum(record.size for record in files.values())

    def _without_parts(self) -> dict[str, FileSummary]:
        files = self.summary.files
        return {name: record for name, record in files.items() if sums_beside(Path(name)).as_posix() not in files}

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

    def _wrong_digests(self, files: Mapping[str, FileSummary], told: Callable[[int], None] | None) -> list[str]:
        sums = {name: sha256_of(self.path / name, told=told) for name in files}
        return [f"{name}: sha256 differs" for name, record in files.items() if sums[name] != record.sha256]

    def _refuse(self, wrong: list[str]) -> None:
        if wrong:
            raise DataError(
                f"{self.path}: the prepared data are damaged ({'; '.join(wrong)}); "
                f"delete this directory, and the next run builds it again"
            )
