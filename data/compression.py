"""Packed files by the end of their name: .gz and .bz2 always, .zst where the `zstandard` package is installed."""

import bz2
import gzip
import importlib
import lzma
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from runjob.schemas.errors import MissingError

# What the unpackers raise on a damaged or cut file (bz2 and zstandard: OSError and EOFError too)
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError)


def open_packed(file: Path, raw: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """The unpacked bytes of `raw`, which is the opened `file`."""
    match file.suffix:
        case ".gz":
            return cast("AbstractContextManager[BinaryIO]", gzip.GzipFile(fileobj=raw, mode="rb"))
        case ".bz2":
            return cast("AbstractContextManager[BinaryIO]", bz2.BZ2File(raw, mode="rb"))
        case ".zst":
            return _open_zst(file, raw)
        case _:
            return nullcontext(raw)


def _open_zst(file: Path, raw: BinaryIO) -> AbstractContextManager[BinaryIO]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ModuleNotFoundError as error:
        raise MissingError(f"{file}: reading .zst needs the package zstandard; type: pip install zstandard") from error
    opened: AbstractContextManager[BinaryIO] = zstandard.open(raw, "rb")
    return opened
