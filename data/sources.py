"""Where documents come from: the data section of a job, read as one stream of documents in a fixed order.

    text    files in sorted order; a document is a line, a block between blank lines, or a whole file
    jsonl   files in sorted order; a document is one field of each line's object
    conll   files in sorted order; a document is a sentence, its tokens with one space between them (data/spans.py)
    parquet files in sorted order; a document is one column of a row (data/parquet.py)
    hub     a data set of the Hugging Face Hub, or a local directory laid out like one (data/hub.py)

Nothing is dropped silently. Documents of white space alone are skipped and counted. Rows that can't be read are
counted too, and stop the job where they are more than `data.bad_rows` allows (data/documents.py).
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from runjob.data.beside import Beside
from runjob.data.classes import DocumentLabels, class_reader
from runjob.data.compression import DAMAGED, open_packed
from runjob.data.digests import DigestCache
from runjob.data.documents import BadRows, Document, Source
from runjob.data.downloads import Downloads
from runjob.data.fields import field_reader
from runjob.data.files import LIKE, CorpusFile, find_files
from runjob.data.labels import Labelling
from runjob.data.pairs import Pairing, pair_reader
from runjob.data.spans import BadLine, Read, column_reader, span_reader
from runjob.data.text_pairs import TextPairing, text_pair_reader
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import CharacterTokenizer, ConllData, HubData, JsonlData, ParquetData, SingleData, TextData

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Longest first: UTF-32's mark begins with UTF-16's. Python and iconv know the encodings by these names.
OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

# What one file's bytes hold: (line number, the document's bytes as they stand there)
Cut = Callable[[BinaryIO], Iterator[tuple[int, bytes]]]


class FileSource:
    """Documents of files, packed or not."""

    def __init__(
        self, files: tuple[CorpusFile, ...], *, cut: Cut, read: Read, bad_rows: float, characters: bool = False
    ) -> None:
        self.files = files
        self.total = sum(file.path.stat().st_size for file in files)
        self.done = 0
        self.rows = 0
        self.empty = 0
        self.bad = BadRows(allowed=bad_rows, characters=characters)
        self._cut = cut
        self._read = read

    def digest(self, cache: DigestCache) -> str:
        return hashlib.sha256("\n".join(cache.file(file.path) for file in self.files).encode()).hexdigest()

    def documents(self) -> Iterator[Document]:
        self.done = self.rows = self.empty = 0
        self.bad.restart()
        for file in self.files:
            before = self.done
            with file.path.open("rb") as raw, open_packed(file.path, raw, name=file.name) as opened:
                try:
                    refuse_other_marks(opened, file.name)
                    for line, data in self._cut(opened):
                        self.done = before + raw.tell()
                        self.rows += 1
                        yield from self._documents_of(file.name, line, data)
                except DAMAGED as error:
                    raise DataError(
                        f"{file.name}: can't be read to its end ({error}); fetch or write it again"
                    ) from error
            self.done = before + file.path.stat().st_size
        self.bad.refuse(rows=self.rows)

    def _documents_of(self, name: str, line: int, data: bytes) -> Sequence[Document]:
        """Those of one line, whose origin it is; none where it is empty or bad."""
        if not data.strip():
            self.empty += 1
            return ()
        origin = f"{name}:{line}"
        try:
            found = self._read(data)
        except UnicodeError as error:
            self.bad.add(origin, not_utf8(error))
            return ()
        except BadLine as error:
            self.bad.add(f"{name}:{line + error.behind}", str(error))
            return ()
        except ValueError as error:
            self.bad.add(origin, str(error))
            return ()
        documents = []
        for one in found if isinstance(found, list) else [found]:
            text, labelled = (one, None) if isinstance(one, str) else (one.text, one)
            if not text.strip():
                self.empty += 1
            elif (said := self.bad.refused(text)) is not None:
                self.bad.add(origin, said)
                break
            elif not self.bad.stops:
                documents.append(Document(text=text, origin=origin, labelled=labelled))
        return documents


def open_source(data: SingleData, *, downloads: Downloads | None = None, labelling: Beside | None = None) -> Source:
    """The documents that one source of a job names; without `downloads` no remote file may be among them, without
    `labelling` they are text alone."""
    characters = isinstance(data.tokenizer, CharacterTokenizer)
    match data:
        case TextData():
            files = find_files(data.path, like=LIKE["text"], downloads=downloads)
            return FileSource(
                files, cut=CUTS[data.documents], read=bytes.decode, bad_rows=data.bad_rows, characters=characters
            )
        case JsonlData():
            files = find_files(data.path, like=LIKE["jsonl"], downloads=downloads)
            read: Read = field_reader(data.field)
            if isinstance(labelling, Pairing):
                read = pair_reader(data.field, labelling)
            elif isinstance(labelling, DocumentLabels):
                read = class_reader(data.field, labelling)
            elif isinstance(labelling, TextPairing):
                read = text_pair_reader(data.field, labelling)
            elif labelling is not None and labelling.field is not None:
                read = span_reader(data.field, labelling.field, labelling.labels)
            return FileSource(files, cut=cut_lines, read=read, bad_rows=data.bad_rows, characters=characters)
        case ConllData():
            files = find_files(data.path, like=LIKE["conll"], downloads=downloads)
            read = column_reader(labelling.labels if isinstance(labelling, Labelling) else None)
            return FileSource(files, cut=cut_paragraphs, read=read, bad_rows=data.bad_rows, characters=characters)
        case ParquetData():
            from runjob.data.parquet import ParquetSource

            files = find_files(data.path, like=LIKE["parquet"], downloads=downloads)
            return ParquetSource(files, field=data.field, bad_rows=data.bad_rows, characters=characters)
        case HubData():
            from runjob.data.hub import HubSource

            return HubSource(data, downloads=downloads)


def refuse_other_marks(file: io.BufferedReader, name: str) -> None:
    """DataError for a file that says itself that it is not in UTF-8; else every line of it would be a bad row."""
    begins = file.peek(4)
    for mark, encoding in OTHER_MARKS.items():
        if begins.startswith(mark):
            raise DataError(
                f"{name}: is {encoding} (its byte order mark says so), and text is read as UTF-8; "
                f"write it again with `iconv -f {encoding} -t UTF-8`"
            )


def not_utf8(error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 ({error})"
    return f"is not UTF-8 (byte 0x{error.object[error.start]:02x} at place {error.start + 1}: {error.reason})"


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
