"""Small errands on another machine before any of our code is there: what is installed, which files it has, take these,
give those. Sent as text (`python3 -c TEXT VERB ...`), so it imports nothing of runjob, only the standard library, and
avoids what Python 3.7 could not read: it is what says that the Python there is too old. Files come and go as a tar
through standard input and output.

A file arrives as a hidden `.part` and gets its name when it is whole; a broken one goes on where it broke off.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
import tarfile
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

# Some login shells greet; what is ours begins behind this line.
MARK = b"-- runjob --\n"
OFFSET = "RUNJOB.offset"
BLOCK = 1 << 20
# Name below a folder, size, whole seconds of its time. Quoted: Python 3.8 can't evaluate it.
File: TypeAlias = "tuple[str, int, int]"


def part_of(path: Path, size: int, mtime: int) -> Path:
    """Where a file grows: by size and time, so that the rest of one version is never glued to another."""
    return path.with_name(f".{path.name[:150]}.{size:x}-{mtime:x}.part")


def find_there(root: Path, wanted: Iterable[File]) -> dict[str, int]:
    """Of each file how many bytes are there already; a whole one has all of them, and one never begun is not named."""
    there = {}
    for name, size, mtime in wanted:
        path = root / name
        part = part_of(path, size, mtime)
        if path.is_file() and (path.stat().st_size, int(path.stat().st_mtime)) == (size, mtime):
            there[name] = size
        elif part.is_file():
            there[name] = min(part.stat().st_size, size - 1)
    return there


def find_sizes(root: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and whole seconds of the time of each file; one that has gone is not named."""
    facts = {name: (root / name).stat() for name in names if (root / name).is_file()}
    return {name: (one.st_size, int(one.st_mtime)) for name, one in facts.items()}


def send(root: Path, names: Iterable[tuple[str, int]], out: IO[bytes], sent: Callable[[str, int], None]) -> None:
    """Files below a folder as a tar, each from its offset on, links as what they lead to."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, offset in names:
            with (root / name).open("rb") as file:
                facts = os.fstat(file.fileno())
                info = tarfile.TarInfo(name)
                info.size, info.mtime = facts.st_size - offset, int(facts.st_mtime)
                info.pax_headers = {OFFSET: str(offset)}
                file.seek(offset)
                archive.addfile(info, Counted(file, name, sent))


class Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], name: str, told: Callable[[str, int], None]) -> None:
        self.file = file
        self.name = name
        self.told = told

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.told(self.name, len(data))
        return data


def receive(
    root: Path, source: IO[bytes], got: Callable[[str, int], None], *, asked: Container[str] | None = None
) -> None:
    """What `send` gave, below a folder; ValueError for anything else. A host is trusted with the job, not with the
    files of whoever fetches it: no name or link leads out of the folder, and nothing comes that was not `asked` for."""
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for info in archive:
            path = root / info.name
            if not info.isreg() or leads_out(root, info.name) or (asked is not None and info.name not in asked):
                raise ValueError(f"not a file below {root} that was asked for: {info.name!r}")
            offset = int(info.pax_headers[OFFSET])
            path.parent.mkdir(parents=True, exist_ok=True)
            part = part_of(path, offset + info.size, int(info.mtime))
            with part.open("r+b" if offset else "wb") as file:
                file.truncate(offset)
                file.seek(offset)
                copy(archive.extractfile(info), file, info, got)
            os.utime(str(part), (info.mtime, info.mtime))
            part.replace(path)


def leads_out(root: Path, name: str) -> bool:
    """By its own words, or since a folder on its way is a link."""
    parts = Path(name).parts
    links = (root.joinpath(*parts[:number]).is_symlink() for number in range(1, len(parts)))
    return Path(name).is_absolute() or ".." in parts or any(links)


def copy(source: IO[bytes] | None, target: IO[bytes], info: tarfile.TarInfo, got: Callable[[str, int], None]) -> None:
    left = info.size
    while source is not None and left:
        block = source.read(min(BLOCK, left))
        if not block:
            raise EOFError(f"{info.name} broke off, {left} bytes short")
        target.write(block)
        left -= len(block)
        got(info.name, len(block))


def probe(folder: str, modules: list[str]) -> dict[str, Any]:
    """What is here: Python, which modules and programs, and whether the folder can be written to."""
    root = Path(folder).expanduser()
    problem = ""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = root / f".probe-{os.getpid()}"
        beside.write_bytes(b"x" * 4096)
        beside.unlink()
    except OSError as error:
        problem = error.strerror or str(error)
    return {
        "root": str(root.absolute()),
        "problem": problem,
        "free": shutil.disk_usage(str(root)).free if root.is_dir() else 0,
        "python": list(sys.version_info[:3]),
        "machine": platform.machine(),
        "missing": [name for name in modules if importlib.util.find_spec(name) is None],
        "programs": [name for name in ("rsync", "bash") if shutil.which(name)],
    }


def main(words: list[str]) -> None:
    verb, folder = words[0], words[1]
    os.umask(0o077)
    out = sys.stdout.buffer
    out.write(MARK)
    out.flush()
    if verb == "probe":
        out.write(json.dumps(probe(folder, words[2:])).encode())
    elif verb == "have":
        out.write(json.dumps(find_there(Path(folder), json.load(sys.stdin))).encode())
    elif verb == "names":
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        out.write(json.dumps(sorted(str(path.relative_to(folder)) for path in files)).encode())
    elif verb == "sizes":
        out.write(json.dumps(find_sizes(Path(folder), json.load(sys.stdin))).encode())
    elif verb == "receive":
        receive(Path(folder), sys.stdin.buffer, lambda name, count: None)
        out.write(b"{}")
    elif verb == "send":
        send(Path(folder), [(name, offset) for name, offset in json.load(sys.stdin)], out, lambda name, count: None)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
