"""Follow files that others write: events.jsonl, which a resume may make shorter, and logs."""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from runjob.schemas.run import parse_event

# Of a damaged line, in a message
SHOWN = 60


class EventTail:
    """New records of events.jsonl, each one once, also across a file that was rewritten shorter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._last_line = b""
        self._seen: set[bytes] = set()
        self._damaged: list[bytes] = []

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            if not self._still_there(file):
                self._offset, self._last_line = 0, b""
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.splitlines(keepends=True)
        self._last_line = lines[-1] if lines else self._last_line
        new_lines = [line for line in lines if self._is_new(line)]
        records = [parse_event(line) for line in new_lines]
        self._damaged += [line for line, record in zip(new_lines, records, strict=True) if record is None]
        return [record for record in records if record is not None]

    def take_damaged(self) -> list[str]:
        """The beginnings of lines that were met since the last call and are no records."""
        met, self._damaged = self._damaged, []
        return [line[:SHOWN].decode("utf-8", errors="replace").rstrip() for line in met]

    def _still_there(self, file: BinaryIO) -> bool:
        """Does the line that we read last still stand where it stood? Size alone can't tell: the file may have been
        cut and have grown again between two looks."""
        file.seek(self._offset - len(self._last_line))
        return file.read(len(self._last_line)) == self._last_line

    def _is_new(self, line: bytes) -> bool:
        key = hashlib.sha256(line).digest()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


class LogTail:
    """New whole lines of a growing log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", errors="replace").splitlines()
