"""One submission, resume or cancel of a job at a time."""

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from runjob.schemas.errors import RunjobError, StateError
from runjob.schemas.run import RunDir

# What file systems without locks answer; there the mkdir of the next attempt alone decides between two resumes.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
POLL_S = 0.05
# A model of gigabytes over a slow line
FETCH_PATIENCE_S = 1800.0


def locked(run: RunDir, *, patience_s: float) -> contextlib.AbstractContextManager[None]:
    """Hold the run's lock, which ends with this process however it ends; StateError if another keeps it too long."""
    said = f"{run.id} is being submitted, resumed or cancelled by somebody else; look with `runjob ps`"
    return _held(run.lock, patience_s, said)


def fetching(run: RunDir) -> contextlib.AbstractContextManager[None]:
    """Of two who follow a job to its end one fetches; the other waits, and finds that all is here."""
    return _held(run.path / ".fetching.lock", FETCH_PATIENCE_S, f"{run.id} is being fetched by somebody else")


@contextlib.contextmanager
def _held(path: Path, patience_s: float, said: str) -> Iterator[None]:
    deadline = time.monotonic() + patience_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise StateError(said) from error
                time.sleep(POLL_S)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise RunjobError(f"{path}: can't be locked: {error.strerror}") from error
                break
        yield
