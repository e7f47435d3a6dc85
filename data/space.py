"""Is there room on the disk? Asked before the first byte is written; a disk that fills up all the same is said too."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runjob.schemas.errors import NoRoomError

FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDY = "make room there, or name another place: RUNJOB_CACHE=/large/disk"


def check_space(where: Path, *, needed: int, what: str) -> None:
    """NoRoomError if `what` doesn't fit on the disk of `where`, which need not exist yet."""
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise NoRoomError(f"{what} needs {in_words(needed)} in {where}, and {in_words(free)} are free; {REMEDY}")


@contextmanager
def saying_full(where: Path) -> Iterator[None]:
    """A disk that fills up while something is written to it: the same words, no traceback."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoomError(f"{where}: {error.strerror}; {REMEDY}") from error


def in_words(size: int) -> str:
    """
    >>> in_words(999), in_words(3_140_000), in_words(25_000_000_000)
    ('999 bytes', '3.14 MB', '25 GB')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
