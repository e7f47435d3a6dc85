"""One builder at a time, between processes of one machine and, where the file system carries locks, between machines.

The lock belongs to an open file, so the kernel takes it back from a process that dies, however it dies: there is no
stale lock to tell from a live one. What is written in the file is for people who wonder whom they are waiting for.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ASK_EVERY_S = 0.2


@contextmanager
def only_one(path: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; while another process has it, `waiting` is told who that is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        while not _try(file.fileno()):
            file.seek(0)
            waiting(file.read().strip() or "another process")
            time.sleep(ASK_EVERY_S)
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}, file)
        file.flush()
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
