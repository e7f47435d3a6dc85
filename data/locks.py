"""One builder at a time, between processes of one machine and, where the file system carries locks, between machines.

The lock belongs to an open file, so the kernel takes it back from a process that dies, however it dies: there is no
stale lock to tell from a live one. What is written in the file is for people who wonder whom they are waiting for.

A file system that carries no locks (some network mounts) has a file instead that only one can make and that its maker
removes; one that was left by a process of this machine that is no more is taken away.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runjob.schemas.file_lock import NO_LOCKS
from runjob.schemas.json_object import read_object
from runjob.schemas.processes import own_start_time, process_alive

ASK_EVERY_S = 0.2
# Between making the file and writing in it who has made it lie microseconds.
UNSIGNED_S = 10.0


@contextmanager
def only_one(path: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; while another process has it, `waiting` is told who that is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            while not _try(file.fileno()):
                file.seek(0)
                waiting(file.read().strip() or "another process")
                time.sleep(ASK_EVERY_S)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            with _claimed(path.with_suffix(".claim"), waiting=waiting):
                yield
            return
        file.truncate(0)
        json.dump(_signature(), file)
        file.flush()
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signature() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": int(time.time()),
        "start_time": own_start_time(),
        "processes": _process_table(),
    }


def _process_table() -> str:
    """Two containers may share a host's name, and not its processes; nor do two boots."""
    boot, table = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return f"{boot.read_text(encoding='ascii').strip()} {table.readlink()}" if boot.exists() else ""


@contextmanager
def _claimed(claim: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    while not _claim(claim):
        waiting(json.dumps(read_object(claim)) if not _is_left_over(claim) else "a process that is no more")
        time.sleep(ASK_EVERY_S)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)


def _claim(claim: Path) -> bool:
    """O_EXCL is kept by every file system; of those who see a claim that was left over, one can rename it."""
    if _is_left_over(claim):
        aside = claim.with_name(f"{claim.name}.{os.getpid()}")
        try:
            claim.rename(aside)
        except FileNotFoundError:
            return False
        if not _is_left_over(aside):  # somebody was quicker: this is already the next one's
            os.link(aside, claim)
        aside.unlink()
    try:
        with claim.open("x", encoding="utf-8") as file:
            json.dump(_signature(), file)
    except FileExistsError:
        return False
    return True


def _is_left_over(claim: Path) -> bool:
    """Of a process of this machine that is no more; of another machine's nobody here can tell."""
    said = read_object(claim)
    if not said:
        return claim.exists() and time.time() - claim.stat().st_mtime > UNSIGNED_S
    if (said["host"], said["processes"]) != (socket.gethostname(), _process_table()):
        return False
    return not process_alive(said["pid"], said["start_time"])
