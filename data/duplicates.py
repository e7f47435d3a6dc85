"""Which documents are exact copies of an earlier one, in memory that doesn't grow with the corpus.

Every document becomes 24 bytes: a 16-byte digest of its text as it stands, and its number. They are held in memory
up to HELD_BYTES and beyond that spilled to 256 files by one byte of the digest, so that copies meet in the same file,
which is small enough to be sorted in memory. What remains is one bit a document. Of equal documents the first stays.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u8")])
# 2.8 million documents; while they are sorted about five times as much is in use
HELD_BYTES = 64 * 2**20
PARTITIONS = 256
# So that nobody can write two documents that only look alike to another program's blake2b
_KEY = b"runjob duplicates"


class Copies:
    """The numbers of the documents that are copies; a document beyond those that were looked at is none."""

    def __init__(self, documents: int) -> None:
        self._bits = np.zeros(-(-documents // 8), dtype=np.uint8)
        self.count = 0

    @staticmethod
    def load(file: Path) -> "Copies":
        copies = Copies(0)
        copies._bits = np.load(file)
        copies.count = int(np.bitwise_count(copies._bits).sum())
        return copies

    def save(self, file: Path) -> None:
        """All of it or nothing is at `file`."""
        beside = file.with_name(f"{file.stem}-beside.npy")
        np.save(beside, self._bits)
        beside.rename(file)

    def add(self, numbers: npt.NDArray[np.uint64]) -> None:
        """Each number once."""
        np.bitwise_or.at(self._bits, numbers >> 3, (1 << (numbers & 7)).astype(np.uint8))
        self.count += len(numbers)

    def __contains__(self, number: int) -> bool:
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] >> (number & 7) & 1)


def find_copies(texts: Iterable[str], *, scratch: Path, held_bytes: int = HELD_BYTES) -> Copies:
    """One pass over the texts; `scratch` is a directory that is made where memory isn't enough, and removed."""
    held = bytearray()
    spilled = False
    documents = 0
    keyed = hashlib.blake2b(digest_size=16, key=_KEY)  # copying it takes two thirds of the time of making one
    for text in texts:
        digest = keyed.copy()
        digest.update(text.encode())
        held += digest.digest()
        held += documents.to_bytes(8, "little")
        documents += 1
        if len(held) >= held_bytes:
            _spill(held, scratch)
            held, spilled = bytearray(), True
    if not spilled:
        copies = Copies(documents)
        copies.add(_later_ones(np.frombuffer(held, dtype=RECORD)))
        return copies
    _spill(held, scratch)
    del held
    copies = Copies(documents)
    for file in sorted(scratch.iterdir()):
        copies.add(_later_ones(np.fromfile(file, dtype=RECORD)))
        file.unlink()
    scratch.rmdir()
    return copies


def _spill(held: bytearray, scratch: Path) -> None:
    """Append every record to the file of its digest's lowest byte, in the order in which they came."""
    scratch.mkdir(exist_ok=True)
    records = np.frombuffer(held, dtype=RECORD)
    parts = (records["high"] % PARTITIONS).astype(np.uint8)
    order = np.argsort(parts, kind="stable")
    ends = np.searchsorted(parts[order], np.arange(PARTITIONS + 1))
    for part in range(PARTITIONS):
        with (scratch / f"{part:03d}").open("ab") as file:
            file.write(records[order[ends[part] : ends[part + 1]]].tobytes())


def _later_ones(records: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """Numbers of the records whose digest has come before; `lexsort` is stable, so equal ones keep their order."""
    ordered = records[np.lexsort((records["low"], records["high"]))]
    high, low = ordered["high"], ordered["low"]
    again = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    numbers: npt.NDArray[np.uint64] = ordered["number"][1:][again]
    return numbers
