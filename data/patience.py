"""Reading over a network: what breaks off is tried again, after longer and longer waits, before anybody gives up."""

import sys
import time
import zlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from runjob.data.block_rows import StreamStopped

# A minute in all, on top of what `datasets` waits for a single request.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

Result = TypeVar("Result")


def passing() -> tuple[type[Exception], ...]:
    """Errors that may pass: of files and sockets, of the libraries below `datasets` that speak HTTP (those that are
    loaded: nobody raises the others'), and of a file that ends too early."""
    import pyarrow  # type: ignore[import-untyped]

    names = (("aiohttp", "ClientError"), ("httpx", "HTTPError"), ("httpx2", "HTTPError"))
    http = [getattr(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (OSError, EOFError, zlib.error, pyarrow.ArrowException, *http)


def patiently(
    read: Callable[[], Result], *, what: str, say: Callable[[str], None], waits_s: Iterable[float] = WAITS_S
) -> Result:
    """What `read` gives; StreamStopped if it has failed once more than there are waits."""
    errors = passing()
    for wait_s in waits_s:
        try:
            return read()
        except errors as error:
            say(f"{what} broke off ({type(error).__name__}: {error}); again in {wait_s:g} s")
            time.sleep(wait_s)
    try:
        return read()
    except errors as error:
        raise StreamStopped(
            f"data.path: {what} broke off again and again ({type(error).__name__}: {error}); resume when the source is "
            f"within reach, and the run goes on with the document that comes next",
            broken_off=True,
        ) from error
