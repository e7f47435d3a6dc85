"""One submission, resume or cancel of a job at a time."""

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator

from runjob.schemas.errors import RunjobError, StateError
from runjob.schemas.run import RunDir

# What file systems without locks answer; there the mkdir of the next attempt alone decides between two resumes.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
POLL_S = 0.05


@contextlib.contextmanager
def locked(run: RunDir, *, patience_s: float) -> Iterator[None]:
    """Hold the run's lock, which ends with this process however it ends; StateError if another keeps it too long."""
    deadline = time.monotonic() + patience_s
    with run.lock.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    said = f"{run.id} is being submitted, resumed or cancelled by somebody else; look with `runjob ps`"
                    raise StateError(said) from error
                time.sleep(POLL_S)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise RunjobError(f"{run.lock}: can't be locked: {error.strerror}") from error
                break
        yield
