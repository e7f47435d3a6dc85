"""Documents of a Hugging Face data set: a name on the Hub or a local directory in Hub layout, read through `datasets`.

`datasets` keeps what it downloads in its own cache; with HF_HUB_OFFLINE=1 it takes what is there and asks nobody.
Where it can't have the revision that was asked for, it takes the newest of its cache and only warns: here that is an
error. A branch is looked up once a run; whoever resumes it gets the commit of then.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document
from runjob.data.downloads import Downloads
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import CharacterTokenizer, HubData

ROWS_AT_ONCE = 1000
COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSource:
    """One split of a data set; loading it may download it. `commit` is None for a local directory."""

    def __init__(self, data: HubData, *, downloads: Downloads | None = None) -> None:
        self.name = f"{data.path}[{data.subset}]"
        self._field = data.field
        name = f"{data.path}@{data.revision or 'main'}"
        self._rows, self.commit = _load(data, pinned=downloads.pinned.get(name) if downloads else None)
        if downloads is not None and self.commit is not None:
            downloads.used[name] = self.commit
        columns: list[str] = self._rows.column_names
        if data.field not in columns:
            raise DataError(f"data.field: {self.name} has no column {data.field!r}, but {', '.join(columns)}")
        self.total: int = self._rows.data.nbytes
        self.done = 0
        self.rows = 0
        self.empty = 0
        self.bad = BadRows(allowed=data.bad_rows, characters=isinstance(data.tokenizer, CharacterTokenizer))

    def digest(self, cache: DigestCache) -> str:
        """Over the documents and not the files: Arrow files differ between versions of `datasets`."""
        files = tuple(Path(entry["filename"]) for entry in self._rows.cache_files)
        return cache.of(f"{self.name} {self._field}", files, self._digest_texts)

    def documents(self) -> Iterator[Document]:
        self.done = self.rows = self.empty = 0
        self.bad.restart()
        for number, text in enumerate(self._texts(), 1):
            origin = f"{self.name}:row {number}"
            self.rows += 1
            if not isinstance(text, str):
                self.bad.add(origin, f"column {self._field!r} holds {type(text).__name__} and not a string")
            elif not text.strip():
                self.empty += 1
            elif (said := self.bad.refused(text)) is not None:
                self.bad.add(origin, said)
            elif not self.bad.stops:
                yield Document(text=text, origin=origin)
        self.bad.refuse(rows=self.rows)

    def _texts(self) -> Iterator[object]:
        for start in range(0, len(self._rows), ROWS_AT_ONCE):
            yield from self._rows[start : start + ROWS_AT_ONCE][self._field]
            self.done = self.total * min(start + ROWS_AT_ONCE, len(self._rows)) // len(self._rows)

    def _digest_texts(self) -> str:
        digest = hashlib.sha256()
        for text in self._texts():
            data = repr(text).encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()


def _load(data: HubData, *, pinned: str | None) -> tuple[Any, str | None]:
    """The rows, and the commit that they are of."""
    import datasets

    datasets.disable_progress_bars()
    asked = pinned or data.revision
    try:
        rows = datasets.load_dataset(data.path, name=data.config, revision=asked, split=data.subset)
    except (FileNotFoundError, ConnectionError) as error:
        raise MissingError(
            f"data.path: {data.path} is neither in the local Hugging Face cache nor could it be fetched "
            f"({str(error).splitlines()[0]}); put a local copy (a directory with data/*.parquet) anywhere and write "
            f"its path into data.path, or run `runjob prepare` once where the Hub can be reached"
        ) from error
    except ValueError as error:  # an unknown config, split or revision; `datasets` lists what there is
        raise JobError(f"data: {data.path} (config {data.config}, subset {data.subset}): {error}") from error
    commit = None if Path(data.path).exists() else commit_of(rows)
    wanted = asked if asked is not None and COMMIT.fullmatch(asked) else known_commit(data.path, asked or "main")
    if commit is not None and commit != (wanted or asked or commit):
        rows, commit = _of_commit(data, wanted, instead=commit), wanted
    return (rows.select_columns([data.field]) if data.field in rows.column_names else rows), commit


def commit_of(rows: Any) -> str | None:  # noqa: ANN401
    """`datasets` keeps the rows of a commit in a folder of its name: .../CONFIG/VERSION/COMMIT/FILE.arrow"""
    names = {Path(entry["filename"]).parent.name for entry in rows.cache_files}
    return next((name for name in names if COMMIT.fullmatch(name)), None)


def _of_commit(data: HubData, commit: str | None, *, instead: str) -> Any:  # noqa: ANN401
    """The rows of one commit in the cache of `datasets`, which itself takes the newest there, of whatever commit."""
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    *owner, name = data.path.split("/")
    place = "___".join([*owner, camelcase_to_snakecase(name)])
    folders = list(
        Path(datasets.config.HF_DATASETS_CACHE).expanduser().glob(f"{place}/{data.config or '*'}/*/{commit}")
    )
    if len(folders) != 1:
        raise MissingError(
            f"data.revision: {data.path} at {data.revision or 'main'} ({commit or 'of unknown commit'}) is not here "
            f"and could not be fetched; the cache holds {instead}. Write that one, or run `runjob prepare` where the "
            f"Hub can be reached"
        )
    config, version = folders[0].parts[-3:-1]
    cached = Cache(dataset_name=name, repo_id=data.path, config_name=config, version=version, hash=commit)
    return cached.as_dataset(split=data.subset)


def known_commit(name: str, revision: str) -> str | None:
    """The commit that a branch or tag was when the Hub was last asked."""
    from huggingface_hub import constants

    ref = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None
