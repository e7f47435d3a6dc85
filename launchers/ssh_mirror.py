"""Bring home what a run writes on its host: one round trip says how it is and carries every new byte of its records,
logs and progress. Home's status.json is a copy too, written last: whoever reads there that the job has ended finds all
that it wrote.
"""

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from runjob.launchers.base import Handle
from runjob.launchers.handover import held_by
from runjob.launchers.outpost import digest_before
from runjob.launchers.records import may_come, news
from runjob.launchers.ssh_link import Link
from runjob.schemas.errors import LaunchError, RunjobError
from runjob.schemas.run import ALIVE_STATES, STORED_STATES, RunDir, Status, read_json, write_json

LOOK_S = 12.0
# Several answers in a row where much was written; the rest comes with the next look.
ROUNDS = 4
# Since when the host does not answer: known to every process that asks
THERE = ".there.json"


def bring_home(run: RunDir, handle: Handle, link: Link) -> Status:
    """Ask the host and take what is new; the state as it is there, which may be `lost`. UnreachableError if no answer.

    Of several processes that follow one run one asks, and the others read what it writes. Nothing is written any more
    once the job has gone to another place than this handle's.
    """
    with alone(run, "mirror") as first:
        if not first:
            return as_last_seen(run)
        for _ in range(ROUNDS):
            answer, data = link.ask(["look"], stdin=what_home_has(run), timeout_s=LOOK_S)
            status = Status(**answer["status"])
            with held_by(run, handle) as ours:
                if not ours:
                    return run.read_status()
                write_here(run, answer, data, status)
                if not answer["more"]:
                    return status
    # There is more to fetch: until it is here, a job that has ended there has not ended for home.
    return status if status.state in ALIVE_STATES else run.read_status()


def write_here(run: RunDir, answer: dict[str, Any], data: bytes, status: Status) -> None:
    try:
        take(run, answer["files"], data)
        write_if_new(run.path / THERE, {"away_since": None})
        if not answer["more"]:
            take_status(run, status)
    except OSError as error:
        raise LaunchError(f"the news of {run.id} can't be written to {run.path} here: {error.strerror}") from error


def as_last_seen(run: RunDir) -> Status:
    status = run.read_status()
    since = read_away(run)
    if since is None:
        return status
    message = f"unreachable since {time.strftime('%H:%M:%S', time.localtime(since))}; another process is asking"
    return dataclasses.replace(status, state="unreachable", message=message)


def away_since(run: RunDir) -> float:
    """Since when the host does not answer: since now, if it did so the last time."""
    since = read_away(run) or time.time()
    write_if_new(run.path / THERE, {"away_since": since})
    return since


def read_away(run: RunDir) -> float | None:
    file = run.path / THERE
    since: float | None = read_json(file)["away_since"] if file.exists() else None
    return since


@contextlib.contextmanager
def alone(run: RunDir, what: str) -> Iterator[bool]:
    """Is this the only process that does `what` for the run now? It stays so until the end of the block."""
    with (run.path / f".{what}.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: then one follower at a time is the user's to see to
            pass
        yield True


def what_home_has(run: RunDir) -> dict[str, Any]:
    """Of each file its length and a digest of its end; and the wish to stop, which home may have written unheard."""
    attempts = run.list_attempts()
    stop = attempts[-1].stop_reason() if attempts else None
    return {"files": dict(measured(run)), "stop": stop, "attempt": attempts[-1].number if attempts else 0}


def measured(run: RunDir) -> Iterator[tuple[str, tuple[int, str]]]:
    for path in news(run):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield str(path.relative_to(run.path)), (size, digest_before(file, size))


def take(run: RunDir, files: list[dict[str, Any]], data: bytes) -> None:
    """Write the announced bytes where they belong: at the end of what is here, or as the whole file."""
    begin = 0
    for one in files:
        part = data[begin : begin + one["bytes"]]
        begin += one["bytes"]
        if len(part) < one["bytes"]:
            raise LaunchError("the answer broke off")
        name = PurePosixPath(one["name"])
        if name.is_absolute() or ".." in name.parts or not may_come(name):
            raise LaunchError(f"the host sent a file that is none of the run's: {one['name']!r}")
        write_part(run.path / name, one["offset"], part)


def write_part(path: Path, offset: int, part: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if offset:
        with path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) == offset:  # else somebody was faster; the next look begins at its end
                file.write(part)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(part)
    beside.replace(path)


def take_status(run: RunDir, status: Status) -> None:
    """What is computed there (lost) is computed anew by whoever looks."""
    if status.state in STORED_STATES:
        with contextlib.suppress(RunjobError):  # one that is damaged is written anew
            if run.status.exists() and run.read_status() == status:
                return
        run.write_sealed(run.status, vars(status))


def write_if_new(path: Path, value: dict[str, Any]) -> None:
    if not path.exists() or read_json(path) != value:
        write_json(path, value)
