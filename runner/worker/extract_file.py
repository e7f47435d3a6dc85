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


def open_corpus(pattern: str, *, field: str, bad_rows: float, marked: bool) -> FileSource:
    """The documents of a corpus: of .jsonl what stands at `field` of each line, of .txt each line. `marked`: a text
    that holds the marks of a pair can't be read."""
    try:
        paths = local_files(pattern, like=LIKE["jsonl"])
    except MissingError as error:
        raise MissingError(str(error).replace("data.path: ", "", 1)) from error
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise JobError(f"{pattern}: names .jsonl and .txt files; extract from one kind after the other")
    read: Read = field_reader(field) if kinds == {"jsonl"} else bytes.decode
    files = tuple(CorpusFile(name=str(path), path=path) for path in sorted(paths))
    return FileSource(files, cut=cut_lines, read=_without_marks(read) if marked else read, bad_rows=bad_rows)


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

    def add(self, record: Mapping[str, Any]) -> None:
        self.documents += 1
        self.sentences += len(record["sentences"])
        self.entities.update(one["label"] for one in record["entities"])
        self.relations.update(one["label"] for one in record["relations"])


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
        if not out.name or out.is_dir():
            raise JobError(f"-o {out}: is a directory; name a file in it, for example {out / 'out.jsonl'}")
        self.out = out
        self.partial = out.with_name(f"{out.name}.partial")
        self.made_by = out.with_name(f"{out.name}.partial.json")
        self.totals = Totals()

    @contextlib.contextmanager
    def opened(self, identity: Mapping[str, Any], *, overwrite: bool) -> Iterator["Writer | None"]:
        """None where all of it has been written before, and a kill came between the rename and the end. StateError
        where something else is in the way."""
        if self.out.exists() and not overwrite:
            if read_object(self.made_by) == identity and not self.partial.exists():
                with self.out.open("rb") as file:
                    self._count(file)
                self.made_by.unlink()
                yield None
                return
            raise StateError(f"{self.out}: is there already; name another with -o, or write it anew with --overwrite")
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
            self._take_over(identity, overwrite=overwrite)
            with self.partial.open("ab") as file:
                yield Writer(self, file)

    def _take_over(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """What an earlier start has left, as far as it is of this command."""
        begun = read_object(self.made_by)
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

    def __init__(self, output: Output, file: BinaryIO) -> None:
        self._output = output
        self._file = file

    def write(self, one: Extraction, raw: str) -> None:
        line = extraction_line(one)
        record = json.loads(line)
        verify_record(record, raw)
        try:
            self._file.write(line.encode())
            fault_point("extract-record", step=one.document)
        except OSError as error:
            raise self._failed(error) from error
        self._output.totals.add(record)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error
        fault_point("extract-window", step=self._output.totals.documents)

    def finish(self) -> None:
        """The whole is on the disk before it gets its name."""
        self.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        fault_point("extract-written", step=0)
        self._output.partial.replace(self._output.out)
        sync_path(self._output.out.parent)
        fault_point("extract-renamed", step=0)
        self._output.made_by.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> RunjobError:
        said = f"{self._output.partial}: can't be written: {error.strerror}"
        return RunjobError(f"{said}; mend that and type the same again: it goes on")


def _shown(identity: Mapping[str, Any], name: str) -> str:
    if name not in identity:
        return "not there"
    value = identity[name]
    return f"{value['id']} ({value['digest'][:12]})" if isinstance(value, dict) else str(value)
