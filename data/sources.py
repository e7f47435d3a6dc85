"""Where documents come from: the data section of a job, read as one stream of documents in a fixed order.

    text    files in sorted order; a document is a line, a block between blank lines, or a whole file
    jsonl   files in sorted order; a document is one field of each line's object
    parquet files in sorted order; a document is one column of a row (data/parquet.py)
    hub     a data set of the Hugging Face Hub, or a local directory laid out like one (data/hub.py)

Nothing is dropped silently. Documents of white space alone are skipped and counted. Rows that can't be read stop the
job with the first ten of them by file and line; from the first one on, no document is handed out any more, so that
the rest of a large corpus is only scanned for the count.
"""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from runjob.data.compression import DAMAGED, open_packed
from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document, Source
from runjob.data.samples import PREFIX, locate
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.job import Data, HubData, JsonlData, ParquetData, TextData

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What one file's bytes hold: (line number, the document's bytes as they stand there)
Cut = Callable[[BinaryIO], Iterator[tuple[int, bytes]]]
# A document's text out of those bytes; ValueError says what is wrong with them
Read = Callable[[bytes], str]


class FileSource:
    """Documents of files, packed or not."""

    def __init__(self, files: tuple[Path, ...], *, cut: Cut, read: Read) -> None:
        self.files = files
        self.total = sum(file.stat().st_size for file in files)
        self.done = 0
        self.empty = 0
        self._cut = cut
        self._read = read

    def digest(self, cache: DigestCache) -> str:
        return hashlib.sha256("\n".join(cache.file(file) for file in self.files).encode()).hexdigest()

    def documents(self) -> Iterator[Document]:
        self.done = self.empty = 0
        bad = BadRows()
        for file in self.files:
            before = self.done
            with file.open("rb") as raw, open_packed(file, raw) as opened:
                try:
                    for line, data in self._cut(opened):
                        self.done = before + raw.tell()
                        yield from self._document(f"{file}:{line}", data, bad)
                except DAMAGED as error:
                    raise DataError(f"{file}: can't be read to its end ({error}); fetch or write it again") from error
            self.done = before + file.stat().st_size
        bad.refuse()

    def _document(self, origin: str, data: bytes, bad: BadRows) -> Iterator[Document]:
        if not data.strip():
            self.empty += 1
            return
        try:
            text = self._read(data)
        except UnicodeError as error:
            bad.add(origin, f"is not UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else str(error))
            return
        except ValueError as error:
            bad.add(origin, str(error))
            return
        if not text.strip():
            self.empty += 1
        elif not bad.count:
            yield Document(text=text, origin=origin)


def open_source(data: Data) -> Source:
    """The documents that a job's data section names."""
    match data:
        case TextData():
            return FileSource(find_files(data.path, like="*.txt"), cut=CUTS[data.documents], read=bytes.decode)
        case JsonlData():
            return FileSource(find_files(data.path, like="*.jsonl"), cut=cut_lines, read=field_reader(data.field))
        case ParquetData():
            from runjob.data.parquet import ParquetSource

            return ParquetSource(find_files(data.path, like="*.parquet"), field=data.field)
        case HubData():
            from runjob.data.hub import HubSource

            return HubSource(data)


def find_files(patterns: tuple[str, ...], *, like: str) -> tuple[Path, ...]:
    """The files that paths, globs and sample names stand for, each once, in sorted order."""
    found: set[Path] = set()
    for pattern in patterns:
        if pattern.startswith(PREFIX):
            found.add(locate(pattern))
        elif Path(pattern).exists():
            found.add(Path(pattern))
        else:
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - patterns may be absolute
            if not matches:
                why = "no file matches" if glob.has_magic(pattern) else "no such file"
                raise MissingError(f"data.path: {pattern}: {why}")
            found.update(path for path in map(Path, matches) if path.is_file())
    for path in found:
        if path.is_dir():
            raise MissingError(f"data.path: {path} is a directory; name its files, for example {path}/{like}")
        if not os.access(path, os.R_OK):
            raise MissingError(f"data.path: {path} may not be read by this user")
    return tuple(sorted(found))


def cut_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, 1):
        yield number, _without_mark(line, number).rstrip(b"\r\n")


def cut_paragraphs(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    block: list[bytes] = []
    first = 1
    for number, line in cut_lines(file):
        if line.strip():
            first = first if block else number
            block.append(line)
        elif block:
            yield first, b"\n".join(block)
            block = []
    if block:
        yield first, b"\n".join(block)


def cut_file(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    yield 1, _without_mark(file.read(), 1)


def _without_mark(data: bytes, line: int) -> bytes:
    return data.removeprefix(BYTE_ORDER_MARK) if line == 1 else data


CUTS: dict[str, Cut] = {"line": cut_lines, "paragraph": cut_paragraphs, "file": cut_file}


def field_reader(field: str) -> Read:
    """A reader of one string field out of a JSON object."""

    def read(data: bytes) -> str:
        try:
            row = json.loads(data.decode())
        except json.JSONDecodeError as error:
            raise ValueError(f"is not JSON ({error.msg} at column {error.colno})") from error
        except RecursionError as error:
            raise ValueError("is not JSON that can be read (nested too deeply)") from error
        if not isinstance(row, dict):
            raise ValueError(f"is {_kind(row)} and not an object with the field {field!r}")
        if field not in row:
            raise ValueError(f"has no field {field!r}, but {', '.join(map(repr, list(row)[:8])) or 'none at all'}")
        text = row[field]
        if not isinstance(text, str):
            raise ValueError(f"field {field!r} is {_kind(text)} and not a string")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"field {field!r} holds half a surrogate pair, which no UTF-8 can write")
        return text

    return read


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
