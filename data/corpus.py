"""The corpus of a job: one source, or several in a fixed order, read as one stream of documents.

    most jobs                one part; `split` says of each document which side it is on
    split: files, subsets    a part for each side: validation, then test, then train
    kind: mix                a part for each source, in the order of the job; each is a section of the store

The parts for validation and test come before training, so that of two copies (`deduplicate`) the one that stays is
theirs: a copy of a validation document is never trained on.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runjob.data.beside import Beside
from runjob.data.digests import DigestCache
from runjob.data.documents import Document, Source
from runjob.data.downloads import Downloads
from runjob.data.parquet import ParquetSource
from runjob.data.sources import FileSource, open_source
from runjob.data.store import SideName
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.job_data import (
    Data,
    FilesSplit,
    HubData,
    JsonlData,
    MixData,
    MixedSource,
    ParquetData,
    SingleData,
    SubsetsSplit,
    TextData,
)
from runjob.schemas.schema import bundled_schema, follow

KINDS: dict[str, type[SingleData]] = {"text": TextData, "jsonl": JsonlData, "parquet": ParquetData, "hub": HubData}


@dataclass(frozen=True, kw_only=True)
class Part:
    """`side`: where the job says it of the whole source; `section` is the source's place in a mixture, else 0."""

    source: Source
    side: SideName | None
    section: int


class Corpus:
    """The parts one after another; `done`, `total`, `empty` and `bad` are those of all of them."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        self.total = sum(part.source.total for part in parts)
        self.done = 0
        self.empty = 0
        self.bad = 0

    @property
    def first_bad_rows(self) -> list[str]:
        """Of each source the first ten that could not be read, by file and line, as far as has been read."""
        return [row for part in self.parts for row in part.source.bad.first]

    @staticmethod
    def of(source: Source) -> "Corpus":
        """A corpus of one source, which `split` divides."""
        return Corpus((Part(source=source, side=None, section=0),))

    def digest(self, cache: DigestCache) -> str:
        """sha256 over every source and the part that it plays; of one source alone its own."""
        if len(self.parts) == 1:
            return self.parts[0].source.digest(cache)
        digests = [f"{part.side} {part.section} {part.source.digest(cache)}" for part in self.parts]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def documents(self) -> Iterator[tuple[Part, Document]]:
        done = empty = bad = 0
        for part in self.parts:
            source = part.source
            for document in source.documents():
                self.done, self.empty, self.bad = done + source.done, empty + source.empty, bad + source.bad.count
                yield part, document
            done, empty, bad = done + source.done, empty + source.empty, bad + source.bad.count
            self.done, self.empty, self.bad = done, empty, bad


def open_corpus(data: Data, *, downloads: Downloads | None = None, labelling: Beside | None = None) -> Corpus:
    """Everything that a job's data section names; without `downloads` none of it may lie elsewhere, without `labelling`
    it is text alone."""
    if isinstance(data, MixData):
        sources = enumerate(alone(data))
        return Corpus(
            tuple(
                Part(source=_open(one, f"data.sources[{number}].path", downloads, None), side=None, section=number)
                for number, one in sources
            )
        )
    match data.split:
        case FilesSplit(validation=validation, test=test):
            corpus = _of_sides(data, "path", {"validation": validation, "test": test}, downloads, labelling)
            _refuse_shared_files(corpus)
            return corpus
        case SubsetsSplit(validation=validation, test=test):
            return _of_sides(data, "subset", {"validation": validation, "test": test}, downloads, labelling)
        case _:
            return Corpus.of(open_source(data, downloads=downloads, labelling=labelling))


def alone(data: Data) -> tuple[SingleData, ...]:
    """Each source of a job as if it were its only one; of a job with one source just that."""
    return tuple(_alone(data, source) for source in data.sources) if isinstance(data, MixData) else (data,)


def names_of(data: Data) -> tuple[str, ...]:
    """What people call each source; of those with one name each has its number too."""
    names = [_name(source.path) for source in alone(data)]
    again = Counter(names)
    return tuple(name if again[name] == 1 else f"{name} [{number}]" for number, name in enumerate(names))


def _name(path: str | tuple[str, ...]) -> str:
    """A file by its name, several by the first."""
    if isinstance(path, str):
        return Path(path).name if Path(path).is_absolute() else path
    first = path[0] if path[0].startswith("sample:") else Path(path[0]).name
    return first if len(path) == 1 else f"{first} and {len(path) - 1} more"


def _alone(mix: MixData, source: MixedSource) -> SingleData:
    """The source's own fields and the mixture's; what neither has (to stream, say) is as the schema has it."""
    own = {**vars(mix), **vars(source)}
    single = KINDS[source.kind]
    schema = bundled_schema()["$defs"][f"data.{source.kind}"]["properties"]
    names = [field.name for field in dataclasses.fields(single)]
    return single(**{name: own[name] if name in own else follow(schema[name])["default"] for name in names})


def _of_sides(
    data: SingleData,
    field: Literal["path", "subset"],
    others: Mapping[SideName, str | tuple[str, ...] | None],
    downloads: Downloads | None,
    labelling: Beside | None,
) -> Corpus:
    """The training side is the job's own source, the others differ from it in one field; they are read first."""
    sides: list[tuple[SideName, SingleData]] = []
    for side, value in others.items():
        if value is not None:
            changed: dict[str, Any] = {field: value}
            sides.append((side, dataclasses.replace(data, **changed)))
    sides.append(("train", data))
    called = {side: f"data.split.{side}" if field == "path" and side != "train" else "data.path" for side, _ in sides}
    return Corpus(
        tuple(Part(source=_open(one, called[side], downloads, labelling), side=side, section=0) for side, one in sides)
    )


def _open(data: SingleData, called: str, downloads: Downloads | None, labelling: Beside | None) -> Source:
    """A source whose files the job names at `called`: what can't be opened is said of that and not of data.path."""
    try:
        return open_source(data, downloads=downloads, labelling=labelling)
    except RunjobError as error:
        raise type(error)(str(error).replace("data.path", called)) from error


def _refuse_shared_files(corpus: Corpus) -> None:
    seen: dict[Path, str] = {}
    for part in corpus.parts:
        assert isinstance(part.source, FileSource | ParquetSource), "a rule refuses files for other kinds"
        where = "data.path" if part.side == "train" else f"data.split.{part.side}"
        for file in part.source.files:
            other = seen.setdefault(file.path.resolve(), where)
            if other != where:
                raise JobError(
                    f"{where}: {file.name} is in {other} too; a file belongs to one side, leave it out of one"
                )
