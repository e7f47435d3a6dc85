"""Documents of Parquet files: one column of text, read a row group at a time, a thousand rows of it at once."""

import hashlib
from collections.abc import Iterator
from typing import Any

from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document
from runjob.data.fields import import_pyarrow, open_parquet
from runjob.data.files import CorpusFile
from runjob.schemas.errors import DataError

ROWS_AT_ONCE = 1000


class ParquetSource:
    """The documents of `field`, file after file."""

    def __init__(self, files: tuple[CorpusFile, ...], *, field: str, bad_rows: float, characters: bool = False) -> None:
        self.files = files
        self.field = field
        self.total = sum(file.path.stat().st_size for file in files)
        self.done = 0
        self.rows = 0
        self.empty = 0
        self.bad = BadRows(allowed=bad_rows, characters=characters)

    def digest(self, cache: DigestCache) -> str:
        return hashlib.sha256("\n".join(cache.file(file.path) for file in self.files).encode()).hexdigest()

    def documents(self) -> Iterator[Document]:
        self.done = self.rows = self.empty = 0
        self.bad.restart()
        for file in self.files:
            before, size = self.done, file.path.stat().st_size
            with file.path.open("rb") as raw:
                opened = open_parquet(file.name, raw, field=self.field)
                rows = opened.metadata.num_rows
                for number, value in enumerate(self._values(file.name, opened), 1):
                    self.done = before + size * number // rows
                    self.rows += 1
                    yield from self._document(f"{file.name}:row {number}", value)
            self.done = before + size
        self.bad.refuse(rows=self.rows)

    def _document(self, origin: str, value: bytes | None) -> Iterator[Document]:
        if value is None:
            self.bad.add(origin, f"column {self.field!r} is null and not text")
            return
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            self.bad.add(origin, f"is not UTF-8 ({error.reason})")
            return
        if not text.strip():
            self.empty += 1
        elif (said := self.bad.refused(text)) is not None:
            self.bad.add(origin, said)
        elif not self.bad.stops:
            yield Document(text=text, origin=origin)

    def _values(self, name: str, opened: Any) -> Iterator[bytes | None]:  # noqa: ANN401
        """As bytes, since pyarrow checks no UTF-8 and fails on a whole batch where one text of it is broken."""
        pyarrow, _ = import_pyarrow()
        try:
            for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE, columns=[self.field]):
                column = batch.column(0)
                if pyarrow.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                yield from column.cast(pyarrow.large_binary()).to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{name}: can't be read to its end ({str(error).splitlines()[0]}); fetch or write it again"
            ) from error
