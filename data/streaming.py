"""A data set of the Hub read as a stream: nothing is downloaded as a whole, and reading can go on from any row.

    data set  ->  its files, in order  ->  (Parquet) row groups  ->  rows  ->  documents
                  `file` of a state        `rows` of a state: where `datasets` itself stands in that file, which is
                                           behind `row` rows of it

Each file is read by an IterableDataset of its own. So a state says which file, and `datasets` opens that one alone:
going on costs one row group of a Parquet file, and in other formats the part of the file that lies before the place.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import CharacterTokenizer, HubData

# Of a local file, at both ends: in Parquet the end holds the sizes and the extreme values of every column of the file.
LOOKED_AT = 65536

State = dict[str, Any]
FIRST: State = {"file": 0, "row": 0, "rows": None}


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A data set to be streamed. `identity`: equal for two copies of one data set, wherever they lie; `commit` is the
    one on the Hub, None for a directory; `files` are their names for messages."""

    name: str
    files: tuple[str, ...]
    field: str
    bad_rows: float
    characters: bool
    identity: str
    commit: str | None
    rows: Any  # an IterableDataset; datasets has no types

    def read(self, state: State) -> "Reading":
        """Its documents from `state` on; FIRST is where all of them begin."""
        return Reading(self, state)


class Reading:
    """A source of documents (data/documents.py) that knows at any time where to go on after the last one."""

    def __init__(self, streamed: Streamed, state: State) -> None:
        self.streamed = streamed
        self.total = 0  # nobody knows it
        self.done = 0
        self.rows = 0
        self.empty = 0
        self.bad = BadRows(allowed=streamed.bad_rows, characters=streamed.characters)
        self._file: int = state["file"]
        self._row: int = state["row"]
        self._begin: Any = state["rows"]
        self._rows: Any = None

    @property
    def state(self) -> State:
        """Where the document after the one handed out last begins."""
        rows = self._begin if self._rows is None else self._rows.state_dict()
        return {"file": self._file, "row": self._row, "rows": rows}

    def digest(self, cache: DigestCache) -> str:
        return self.streamed.identity

    def documents(self) -> Iterator[Document]:
        files: int = self.streamed.rows.num_shards
        while self._file < files:
            self._rows = self.streamed.rows.shard(files, self._file).reshard()
            if self._begin is not None:
                self._rows.load_state_dict(self._begin)
            yield from self._documents_of_file()
            self._file, self._row, self._begin, self._rows = self._file + 1, 0, None, None

    def _documents_of_file(self) -> Iterator[Document]:
        rows = iter(self._rows)
        file = self.streamed.files[self._file]
        while True:
            try:
                row = next(rows, None)
            except ValueError as error:  # datasets reads many rows at once: a line that is no JSON, other columns
                raise DataError(f"{file}: can't be read behind row {self._row} ({error}); mend or remove it") from error
            if row is None:
                return
            self._row += 1
            yield from self._document(row, f"{file}:row {self._row}")

    def _document(self, row: dict[str, Any], origin: str) -> Iterator[Document]:
        self.rows += 1
        field = self.streamed.field
        text = row.get(field)
        if not isinstance(text, str):
            self._note_bad(origin, f"column {field!r} holds {type(text).__name__} and not a string")
        elif not text.strip():
            self.empty += 1
        elif (said := self.bad.refused(text)) is not None:
            self._note_bad(origin, said)
        else:
            yield Document(text=text, origin=origin)

    def _note_bad(self, origin: str, why: str) -> None:
        """Where no row may be bad the first one ends it: nobody would wait for a whole stream to be counted."""
        self.bad.add(origin, why)
        if self.bad.stops:
            self.bad.refuse(rows=self.rows)


def open_streamed(data: HubData, *, commit: str | None) -> Streamed:
    """The data set that a job streams; `commit` pins what the job's revision meant when the run began."""
    import datasets

    datasets.disable_progress_bars()
    try:
        builder = _builder(data, commit)
        rows = builder.as_streaming_dataset(split=data.subset)
        columns = rows.column_names or rows._resolve_features().column_names
    except (FileNotFoundError, ConnectionError) as error:
        raise MissingError(
            f"data.path: {data.path} can't be streamed: it is neither a directory with data here, nor did the Hub give "
            f"it ({str(error).splitlines()[0]}); a copy (a directory with data/*.parquet) can lie anywhere"
        ) from error
    except ValueError as error:  # an unknown config, split or revision; `datasets` lists what there is
        raise JobError(f"data: {data.path} (config {data.config}, subset {data.subset}): {error}") from error
    name = f"{data.path}[{data.subset}]"
    if data.field not in columns:
        raise DataError(f"data.field: {name} has no column {data.field!r}, but {', '.join(columns)}")
    files = [str(file) for file in builder.config.data_files[data.subset]]
    return Streamed(
        name=name,
        files=_named(files, shards=rows.num_shards, name=name),
        field=data.field,
        bad_rows=data.bad_rows,
        characters=isinstance(data.tokenizer, CharacterTokenizer),
        identity=_identity(data, files, root=str(builder.base_path)),
        commit=_commit(files),
        rows=rows.select_columns([data.field]),
    )


def _builder(data: HubData, commit: str | None) -> Any:  # noqa: ANN401
    """Of Parquet files only the column with the text is fetched."""
    import datasets

    revision = commit if commit is not None else data.revision
    builder = datasets.load_dataset_builder(data.path, name=data.config, revision=revision)
    if type(builder).__name__ != "Parquet":
        return builder
    features = builder.info.features
    if features is not None and data.field not in features:
        return builder
    return datasets.load_dataset_builder(data.path, name=data.config, revision=revision, columns=[data.field])


def _named(files: list[str], *, shards: int, name: str) -> tuple[str, ...]:
    """The files as `datasets` numbers them; where it makes several parts of one (an archive), those are numbered."""
    return tuple(files) if len(files) == shards else tuple(f"{name} part {part + 1}" for part in range(shards))


def _identity(data: HubData, files: list[str], *, root: str) -> str:
    """Over the names of the files below `root` and, of those on this machine, their sizes and both of their ends.
    Names on the Hub hold the commit, which says all of it."""
    digest = hashlib.sha256(f"{data.config} {data.subset}".encode())
    for file in files:
        digest.update(f"\n{_below(file, root)} ".encode())
        if "://" not in file:
            digest.update(_ends(Path(file)))
    return digest.hexdigest()


def _below(file: str, root: str) -> str:
    if "://" in file:
        return file
    path, top = Path(file).absolute(), Path(root).absolute()
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name


def _ends(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(LOOKED_AT)
        opened.seek(max(0, size - LOOKED_AT))
        last = opened.read()
    return hashlib.sha256(size.to_bytes(8, "little") + first + last).digest()


def _commit(files: list[str]) -> str | None:
    """Out of `hf://datasets/OWNER/NAME@COMMIT/path`."""
    _, at, rest = files[0].partition("@")
    return rest.partition("/")[0] if at and files[0].startswith("hf://") else None
