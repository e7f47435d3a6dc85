"""A lock on a file that ends with its process, however that ends: the one loop behind a run's lock (runner/lock.py) and
the guard of its place (launchers/handover.py)."""

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from runjob.schemas.errors import RunjobError

# What file systems without locks answer. There the callers' second safeguard decides alone: the mkdir of the next
# attempt, or the look at handle.json.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
POLL_S = 0.02


@contextlib.contextmanager
def held(path: Path, *, patience_s: float, busy: RunjobError, broken: type[RunjobError]) -> Iterator[None]:
    """Hold the lock for the body. `busy` is raised if another process keeps it for so long, `broken` (with the reason)
    if it can't be asked for."""
    deadline = time.monotonic() + patience_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise busy from error
                time.sleep(POLL_S)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise broken(f"{path}: can't be locked: {error.strerror}") from error
                break
        yield
