"""What `runjob extract` reads and what it writes, so that a run of it which is killed goes on where it was.

    OUT.partial.json    the corpus, the models and the options by which it was begun
    OUT.partial         a line a document, in the order of the corpus; the last one may be half a line
    OUT                 the same, once all of it is there: a rename

Whoever types the same again goes on behind the last whole line; the documents before it are passed over.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from runjob.data.compression import BEGINNINGS
from runjob.data.documents import Document
from runjob.data.fields import field_reader
from runjob.data.files import LIKE, CorpusFile, local_files
from runjob.data.pairs import refuse_marks
from runjob.data.samples import PREFIX
from runjob.data.sources import FileSource, cut_lines
from runjob.data.spans import Read
from runjob.runner.worker.faults import fault_point
from runjob.schemas.errors import JobError, MissingError, RunjobError, StateError
from runjob.schemas.extraction import Extraction, extraction_line
from runjob.schemas.file_lock import held
from runjob.schemas.json_object import read_object
from runjob.schemas.run import sync_path, write_json

KINDS = {".jsonl": "jsonl", ".txt": "text"}
PACKED = tuple(BEGINNINGS)
# Where a document's text stands in a line of .jsonl unless --field says another
FIELD = "text"


def open_corpus(pattern: str, *, field: str | None, bad_rows: float, marked: bool) -> FileSource:
    """The documents of a corpus: of .jsonl what stands at `field` of each line, of .txt each line. `marked`: a text
    that holds the marks of a pair can't be read."""
    paths = local_files(pattern, like=LIKE["jsonl"])
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise JobError(f"{pattern}: names .jsonl and .txt files; extract from one kind after the other")
    if kinds == {"text"} and field is not None:
        raise JobError(f"--field {field}: {pattern} is text, a document a line, and has no fields; leave it out")
    read: Read = field_reader(field or FIELD) if kinds == {"jsonl"} else bytes.decode
    files = tuple(CorpusFile(name=_name(pattern, path), path=path) for path in sorted(paths))
    return FileSource(files, cut=cut_lines, read=_without_marks(read) if marked else read, bad_rows=bad_rows)


def _name(pattern: str, path: Path) -> str:
    """What a record calls its file: as it was named, of a sample not where it lies on this machine."""
    name = pattern if pattern.startswith(PREFIX) else str(path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise JobError(f"{name!a}: a name that is not UTF-8, and every record holds it; rename the file") from error
    return name


def _kind(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix in PACKED else path
    if inner.suffix not in KINDS:
        said = "is neither .jsonl (a document at --field of each line) nor .txt (a document a line)"
        raise JobError(f"{path}: {said}, packed (.gz, .zst) or not; name it so if it is one")
    return KINDS[inner.suffix]


def _without_marks(read: Read) -> Read:
    def refusing(data: bytes) -> str:
        text = read(data)
        assert isinstance(text, str), "a corpus without labels"
        refuse_marks(text)
        return text

    return refusing


def place_of(document: Document) -> tuple[str, int]:
    file, _, line = document.origin.rpartition(":")
    return file, int(line)


@dataclass(kw_only=True)
class Totals:
    """Of all records, those of earlier runs of the program among them."""

    documents: int = 0
    sentences: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)
    unasked: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        self.documents += 1
        self.sentences += len(record["sentences"])
        self.entities.update(one["label"] for one in record["entities"])
        self.relations.update(one["label"] for one in record["relations"])
        self.unasked += record["unasked"]


def verify_record(record: Mapping[str, Any], raw: str) -> None:
    """AssertionError, which is a fault of this program, unless every offset of a record leads to what it says."""
    before = 0
    for one in record["sentences"]:
        wrong = not before <= one["start"] < one["end"] <= len(raw) or raw[before : one["start"]].strip()
        assert not wrong, f"document {record['document']}: sentence {one} leaves out text, or is none of it"
        before = one["end"]
    assert not raw[before:].strip(), f"document {record['document']}: text behind the last sentence is left out"
    for one in record["entities"]:
        inside = any(place["start"] <= one["start"] < one["end"] <= place["end"] for place in record["sentences"])
        right = inside and raw[one["start"] : one["end"]] == one["text"]
        assert right, f"document {record['document']}: entity {one} is not what stands there"


class Output:
    """OUT while it is being written. `totals.documents` records are there already when it is opened."""

    def __init__(self, out: Path) -> None:
        try:
            if not out.name or out.is_dir():
                raise JobError(f"-o {out}: is a directory; name a file in it, for example {out / 'out.jsonl'}")
        except OSError as error:  # a name that is too long for its file system
            raise JobError(f"-o {out}: {error.strerror}; name another") from error
        self.out = out
        self.partial = out.with_name(f"{out.name}.partial")
        self.made_by = out.with_name(f"{out.name}.partial.json")
        self.totals = Totals()

    @contextlib.contextmanager
    def opened(self, identity: Mapping[str, Any], *, overwrite: bool) -> Iterator["Writer | None"]:
        """None where all of it has been written before, and a kill came between the rename and the end. StateError
        where something else is in the way."""
        if self.out.exists() and not overwrite:
            self._take_whole(identity)
            yield None
            return
        if not self.out.parent.is_dir():
            raise MissingError(f"-o {self.out}: there is no directory {self.out.parent}; make it first")
        try:
            self.partial.open("ab").close()
        except OSError as error:
            raise JobError(f"-o {self.out}: {self.partial} can't be written: {error.strerror}; name another") from error
        busy = StateError(
            f"{self.partial}: another `runjob extract` is writing it; wait for it, or name another with -o"
        )
        with held(self.partial, patience_s=0, busy=busy, broken=StateError):
            with self.writing():
                self._take_over(identity, overwrite=overwrite)
                file = self.partial.open("ab")
            try:
                yield Writer(self, file, identity)
            finally:
                with self.writing():  # what is not yet on the disk goes there now
                    file.close()

    def _take_whole(self, identity: Mapping[str, Any]) -> None:
        whole = self.ended(identity, self.out.stat().st_size)
        if self.partial.exists() or read_object(self.made_by) != whole:
            raise StateError(f"{self.out}: is there already; name another with -o, or write it anew with --overwrite")
        with self.out.open("rb") as file:
            self._count(file)
        self.made_by.unlink()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """RunjobError where the disk is full or gone."""
        try:
            yield
        except OSError as error:
            said = f"{self.partial}: can't be written: {error.strerror}"
            raise RunjobError(f"{said}; mend that and type the same again: it goes on") from error

    @staticmethod
    def ended(identity: Mapping[str, Any], size: int) -> dict[str, Any]:
        """What stands beside a whole OUT of so many bytes until the last is done."""
        return {**identity, "bytes": size}

    def _take_over(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """What an earlier start has left, as far as it is of this command."""
        begun = read_object(self.made_by)
        begun.pop("bytes", None)  # killed between that and the rename
        if begun == identity and not overwrite:
            with self.partial.open("r+b") as file:
                file.truncate(self._count(file))
            return
        if self.partial.stat().st_size and not overwrite:
            raise StateError(self._other(begun, identity))
        with self.partial.open("r+b") as file:
            file.truncate(0)
        write_json(self.made_by, identity)

    def _count(self, file: BinaryIO) -> int:
        """The bytes of whole lines, which are counted."""
        whole = 0
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                assert record["document"] == number
                self.totals.add(record)
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                raise StateError(
                    f"{self.partial}:{number + 1}: is not what was written there; begin anew with --overwrite"
                ) from error
            whole += len(line)
        return whole

    def _other(self, begun: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
        if not begun:
            return f"{self.partial}: is there, and nothing says what it is of; begin anew with --overwrite"
        lines = [
            f"{name} was {_shown(begun, name)} and is {_shown(identity, name)}"
            for name in identity
            if name not in begun or begun[name] != identity[name]
        ]
        way_on = f"type what was typed then to go on, or --overwrite to begin anew; {self.made_by} says what it was"
        return f"{self.partial}: was begun otherwise: {'; '.join(lines)}: {way_on}"


class Writer:
    """Records go to the disk one after another, each looked at before."""

    def __init__(self, output: Output, file: BinaryIO, identity: Mapping[str, Any]) -> None:
        self._output = output
        self._file = file
        self._identity = identity

    def write(self, one: Extraction, raw: str) -> None:
        line = extraction_line(one)
        record = json.loads(line)
        verify_record(record, raw)
        with self._output.writing():
            self._file.write(line.encode())
        fault_point("extract-record", step=one.document)
        self._output.totals.add(record)

    def flush(self) -> None:
        with self._output.writing():
            self._file.flush()
        fault_point("extract-window", step=self._output.totals.documents)

    def finish(self) -> None:
        """The whole is on the disk before it gets its name."""
        self.flush()
        output = self._output
        with output.writing():
            os.fsync(self._file.fileno())
            write_json(output.made_by, output.ended(self._identity, self._file.tell()))
            fault_point("extract-written", step=0)
            output.partial.replace(output.out)
            sync_path(output.out.parent)
            fault_point("extract-renamed", step=0)
            output.made_by.unlink(missing_ok=True)


def _shown(identity: Mapping[str, Any], name: str) -> str:
    if name not in identity:
        return "not there"
    value = identity[name]
    return f"{value['id']} ({value['digest'][:12]})" if isinstance(value, dict) else str(value)
