"""Packed files by the end of their name: .gz, .bz2 and .xz always, .zst where the `zstandard` package is installed.

A file of several packed parts, one behind the other, is read whole, and one that breaks off is an error: what is
missing would else be missing in the corpus without a word.
"""

import bz2
import gzip
import importlib
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from runjob.schemas.errors import DataError, MissingError

# What the unpackers raise on a damaged or cut file (bz2 and zstandard: OSError and EOFError too)
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError)
BEGINNINGS = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
# Text may begin with BZh, but goes on otherwise; no text has a control character behind PAR1
BZ2_BLOCK = b"1AY&SY"
PARQUET = b"PAR1\x15"
# zstd may also begin with a frame that is skipped, of sixteen kinds
SKIPPED_FRAMES = tuple(bytes([0x50 + kind, 0x2A, 0x4D, 0x18]) for kind in range(16))
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
CHUNK = 2**18
# Windows up to that of `zstd --long=31`
LARGEST_WINDOW = 2**31


def open_packed(file: Path, raw: io.BufferedReader, *, name: str) -> io.BufferedReader:
    """The unpacked bytes of `raw`, which is the opened `file`; `name` is what it is called in messages."""
    if file.suffix in ARCHIVES or ".tar" in file.suffixes[-2:]:
        raise DataError(f"{name} is an archive of files; unpack it and name them (.gz, .bz2, .xz and .zst are read)")
    if file.suffix not in BEGINNINGS:
        _refuse_unnamed(raw, name)
        return raw
    begins = raw.read(6)
    raw.seek(0)
    expected = (BEGINNINGS[file.suffix], *(SKIPPED_FRAMES if file.suffix == ".zst" else ()))
    if not begins.startswith(expected):
        said = "is empty, and" if not begins else "is not packed as its name says:"
        raise DataError(f"{name} {said} no {file.suffix} file begins so; fetch or write it again, or rename it")
    return io.BufferedReader(OPENERS[file.suffix](raw, name), CHUNK)


def _refuse_unnamed(raw: io.BufferedReader, name: str) -> None:
    """DataError for a packed or a Parquet file under another name; else every line of it would be a bad row."""
    begins = raw.peek(10)
    if begins.startswith(PARQUET):
        raise DataError(f"{name} is a Parquet file; read it with `kind: parquet`")
    for suffix, beginning in BEGINNINGS.items():
        if begins.startswith(beginning) and (suffix != ".bz2" or begins[4:10] == BZ2_BLOCK):
            raise DataError(f"{name} is packed ({suffix}) and its name doesn't say so; rename it to end with {suffix}")


def _open_zst(raw: BinaryIO, name: str) -> Any:  # noqa: ANN401 - what BufferedReader takes has no public name
    try:
        zstandard = importlib.import_module("zstandard")
    except ModuleNotFoundError as error:
        raise MissingError(f"{name}: reading .zst needs the package zstandard; type: pip install zstandard") from error
    return Zst(raw, zstandard)


class Zst(io.RawIOBase):
    """All frames of a .zst file. The package's own reader ends at the first one, or where a file is cut, silently."""

    def __init__(self, raw: BinaryIO, zstandard: Any) -> None:  # noqa: ANN401 - zstandard has no types here
        self._raw = raw
        self._damaged: type[Exception] = zstandard.ZstdError
        self._begin: Callable[[], Any] = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj
        self._frame: Any = None
        self._rest = b""  # packed bytes behind the end of a frame
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._ready:
            packed = self._rest or self._raw.read(CHUNK)
            self._rest = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame breaks off")
                return 0
            self._unpack(packed)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _unpack(self, packed: bytes) -> None:
        self._frame = self._frame or self._begin()
        try:
            self._ready = memoryview(self._frame.decompress(packed))
        except self._damaged as error:
            raise OSError(str(error)) from error
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None


OPENERS: dict[str, Callable[[BinaryIO, str], Any]] = {
    ".gz": lambda raw, name: gzip.GzipFile(fileobj=raw, mode="rb"),
    ".bz2": lambda raw, name: bz2.BZ2File(raw, mode="rb"),
    ".xz": lambda raw, name: lzma.LZMAFile(raw, mode="rb"),  # noqa: SIM115 - whoever opens it closes it
    ".zst": _open_zst,
}
