"""Documents of a Hugging Face data set: a name on the Hub or a local directory in Hub layout, read through `datasets`.

`datasets` keeps what it downloads in its own cache; with HF_HUB_OFFLINE=1 it takes what is there and asks nobody.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job import HubData

ROWS_AT_ONCE = 1000


class HubSource:
    """One split of a data set; loading it may download it."""

    def __init__(self, data: HubData) -> None:
        self.name = f"{data.path}[{data.subset}]"
        self._field = data.field
        self._rows = _load(data)
        columns: list[str] = self._rows.column_names
        if data.field not in columns:
            raise DataError(f"data.field: {self.name} has no column {data.field!r}, but {', '.join(columns)}")
        self.total: int = self._rows.data.nbytes
        self.done = 0
        self.empty = 0

    def digest(self, cache: DigestCache) -> str:
        """Over the documents and not the files: Arrow files differ between versions of `datasets`."""
        files = tuple(Path(entry["filename"]) for entry in self._rows.cache_files)
        return cache.of(f"{self.name} {self._field}", files, self._digest_texts)

    def documents(self) -> Iterator[Document]:
        self.done = self.empty = 0
        bad = BadRows()
        for number, text in enumerate(self._texts()):
            origin = f"{self.name}:{number}"
            if not isinstance(text, str):
                bad.add(origin, f"column {self._field!r} holds {type(text).__name__} and not a string")
            elif not text.strip():
                self.empty += 1
            elif not bad.count:
                yield Document(text=text, origin=origin)
        bad.refuse()

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


def _load(data: HubData) -> Any:  # noqa: ANN401 - datasets has no types
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(data.path, name=data.config, revision=data.revision, split=data.subset)
    except (FileNotFoundError, ConnectionError) as error:
        raise MissingError(
            f"data.path: {data.path} is neither in the local Hugging Face cache nor could it be fetched "
            f"({str(error).splitlines()[0]}); put a local copy (a directory with data/*.parquet) anywhere and write "
            f"its path into data.path, or run `runjob prepare` once where the Hub can be reached"
        ) from error
    except ValueError as error:  # an unknown config, split or revision; `datasets` lists what there is
        raise JobError(f"data: {data.path} (config {data.config}, subset {data.subset}): {error}") from error
    return rows.select_columns([data.field]) if data.field in rows.column_names else rows
