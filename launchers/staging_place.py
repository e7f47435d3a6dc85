"""Where a copy of a run can be made: a folder on another machine, or one that this machine sees too.

A place runs commands, takes files and gives them back. Files that are there already are not sent again, broken ones go
on where they broke off, and a file has its name only when it is whole.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runjob.launchers.base import Told
from runjob.launchers.errand import BLOCK, File, find_there, part_of
from runjob.launchers.shell import Answer, run_to_end, start_here
from runjob.schemas.errors import LaunchError

# A line of progress each second is enough for eyes.
TOLD_EVERY_S = 1.0


class Place(Protocol):
    @property
    def root(self) -> str:
        """The folder there, absolute: runs/, inputs/, cache/ and envs/ lie in it."""
        ...

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Answer:
        """A command there, to its end."""
        ...

    def put(self, source: Path, names: Sequence[str], target: str, *, told: Told) -> None:
        """Files below a folder here into a folder there, with their times; links as what they lead to."""
        ...

    def get(self, source: str, names: Sequence[str], target: Path, *, told: Told) -> None:
        """Files below a folder there into a folder here."""
        ...


@dataclass(frozen=True, kw_only=True)
class FolderPlace:
    """A folder that this machine sees under the same path as the nodes that will run there."""

    root: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Answer:
        return run_to_end(start_here(argv), stdin=stdin, timeout_s=timeout_s)

    def put(self, source: Path, names: Sequence[str], target: str, *, told: Told) -> None:
        copy_files(source, names, Path(target), told=told)

    def get(self, source: str, names: Sequence[str], target: Path, *, told: Told) -> None:
        copy_files(Path(source), names, target, told=told)


def measure(source: Path, names: Sequence[str]) -> list[File]:
    """The files by name, size and whole seconds of their time."""
    found = []
    for name in names:
        facts = (source / name).stat()
        found.append((name, facts.st_size, int(facts.st_mtime)))
    return found


def copy_files(source: Path, names: Sequence[str], target: Path, *, told: Told) -> None:
    try:
        wanted = measure(source, names)
        there = find_there(target, wanted)
        teller = Teller("copying", wanted, there, told)
        for name, size, mtime in wanted:
            if there.get(name) != size:
                copy_file(source / name, target / name, size, mtime, there.get(name, 0), teller)
    except OSError as error:
        raise LaunchError(f"{error.filename or target}: can't be copied: {error.strerror or error}") from error


def copy_file(source: Path, target: Path, size: int, mtime: int, offset: int, teller: "Teller") -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, size, mtime)
    with source.open("rb") as reader, part.open("r+b" if offset else "wb") as writer:
        reader.seek(offset)
        writer.truncate(offset)
        writer.seek(offset)
        while block := reader.read(BLOCK):
            writer.write(block)
            teller(target.name, len(block))
    os.utime(part, (mtime, mtime))
    part.replace(target)


class Teller:
    """How far a transfer is: `sending corpus.txt  45 % of 1.2 GB`, once a second, and nothing if it is short."""

    def __init__(self, doing: str, wanted: Sequence[File], there: dict[str, int], told: Told) -> None:
        self.doing = doing
        self.total = sum(size for _, size, _ in wanted)
        self.done = sum(there.values())
        self.told = told
        self.last = time.monotonic()

    def __call__(self, name: str, count: int) -> None:
        self.done += count
        if time.monotonic() - self.last >= TOLD_EVERY_S:
            self.last = time.monotonic()
            self.told(
                f"{self.doing} {Path(name).name}  {100 * self.done / max(self.total, 1):.0f} % of {size(self.total)}"
            )


def size(count: float) -> str:
    """`1.2 GB`.

    >>> size(1_234_567)
    '1.2 MB'
    """
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
