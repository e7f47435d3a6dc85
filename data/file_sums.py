"""Sums of the files of a store, and of the parts of those that grow with the corpus, so that one of any size is checked
when it is read and as far as it is read.

    tokens.bin          the file
    tokens.bin.parts    the sha256 of each MiB of it, 32 bytes each, one after another; the last part may be short

Whoever maps the file asks for the bytes that come next; what has not been read before is compared then, once a process.
What was good when it was read and is lost from memory and the disk afterwards is not seen.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runjob.schemas.errors import DataError
from runjob.schemas.run import sync_path

# A row of a shuffled corpus costs a part at first: 0.8 ms of processor, and 32 bytes of sums for each of them
PART_BYTES = 2**20
SUM_BYTES = hashlib.sha256().digest_size
SUFFIX = ".parts"
# What grows with the corpus; all else of a store is small and read as a whole
PARTED = ("tokens.bin", "offsets.npy", "labels.bin")


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    size: int
    sha256: str


def sums_beside(file: Path) -> Path:
    return file.with_name(f"{file.name}{SUFFIX}")


class CheckedFile:
    """One file that is mapped by others, and its sums; a store of before there were any has none, and its files were
    read as a whole before anybody came here."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._good: set[int] = set()

    def check(self, first: int, end: int) -> None:
        """DataError if a byte in first .. end - 1 stands in a part that is not what was written."""
        if self._sums is None or end <= first:
            return
        for part in range(first // PART_BYTES, (end - 1) // PART_BYTES + 1):
            if part not in self._good:
                self._compare(part, self._sums)
                self._good.add(part)

    def check_all(self) -> None:
        self.check(0, self._file.stat().st_size)

    def _compare(self, part: int, sums: bytes) -> None:
        first = part * PART_BYTES
        with memoryview(self._bytes) as all_of_it, all_of_it[first : first + PART_BYTES] as piece:
            end = first + len(piece)
            same = hashlib.sha256(piece).digest() == sums[part * SUM_BYTES : (part + 1) * SUM_BYTES]
        if not same:
            raise DataError(
                f"{self._file}: damaged: part {part + 1} of {len(sums) // SUM_BYTES} (bytes {first} to {end - 1}) is "
                f"not what was prepared, and nothing of it was used; delete {self._file.parent.parent}, and "
                f"`runjob resume` builds it again and goes on"
            )

    @cached_property
    def _sums(self) -> bytes | None:
        beside = sums_beside(self._file)
        return beside.read_bytes() if beside.exists() else None

    @cached_property
    def _bytes(self) -> mmap.mmap:
        with self._file.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def sha256_of(file: Path, *, told: Callable[[int], None] | None = None) -> str:
    """`told` hears of every piece that has been read, in bytes."""
    digest = hashlib.sha256()
    for piece in _pieces(file, told):
        digest.update(piece)
    return digest.hexdigest()


def settle_files(
    directory: Path, paths: Iterable[Path], *, told: Callable[[int], None] | None = None
) -> dict[str, FileSummary]:
    """Size and sha256 of these files below `directory`, each after it has reached the disk, and of the sums of parts
    that are written here beside the large ones."""
    settled = []
    for path in sorted(paths):
        sync_path(path)
        if path.name in PARTED:
            sha256, parts = _sums_of(path, told)
            beside = sums_beside(path)
            beside.write_bytes(parts)
            sync_path(beside)
            settled += [(path, sha256), (beside, hashlib.sha256(parts).hexdigest())]
        else:
            settled.append((path, sha256_of(path, told=told)))
    return {
        path.relative_to(directory).as_posix(): FileSummary(size=path.stat().st_size, sha256=sha256)
        for path, sha256 in settled
    }


def _sums_of(file: Path, told: Callable[[int], None] | None) -> tuple[str, bytes]:
    """Of the whole as hexadecimal digits, and of its parts; the file is read once."""
    digest, parts = hashlib.sha256(), bytearray()
    for piece in _pieces(file, told):
        digest.update(piece)
        parts += hashlib.sha256(piece).digest()
    return digest.hexdigest(), bytes(parts)


def _pieces(file: Path, told: Callable[[int], None] | None) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PART_BYTES):
            yield piece
            if told is not None:
                told(len(piece))
