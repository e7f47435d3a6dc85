"""End every process below this one, orphans included (the supervisor adopts them, see schemas/lifeline.py)."""

import contextlib
import os
import signal
import time
from collections.abc import Collection

from runjob.schemas.processes import LINUX, ProcessFacts, descendants


def end_descendants(child: int, *, grace_s: float, spare: Collection[int] = ()) -> int:
    """SIGTERM, up to `grace_s` of patience, then SIGKILL until none is left; answers how many had to be ended.

    `child` is the stage that we started: its process group is what can be signalled where there is no /proc, and its
    exit code is left to be read by the one who waits for it. `spare`: other children, which go on.
    """
    first = _alive(child, spare)
    if not LINUX:
        _signal_group(child, signal.SIGTERM)
        time.sleep(grace_s)
        _signal_group(child, signal.SIGKILL)
    if grace_s:
        _signal(first, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while _alive(child, spare) and time.monotonic() < deadline:
            time.sleep(0.02)
    while left := _alive(child, spare):
        _signal(left, signal.SIGKILL)
        time.sleep(0.01)
    return len(first)


def _alive(child: int, spare: Collection[int]) -> list[ProcessFacts]:
    """Descendants that still run; orphans that have ended are reaped by the way."""
    kept = {*spare, *(process.pid for pid in spare for process in descendants(pid))}
    found = [process for process in descendants(os.getpid()) if process.pid not in kept]
    for process in found:
        if process.zombie and process.parent == os.getpid() and process.pid != child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    return [process for process in found if not process.zombie]


def _signal(processes: list[ProcessFacts], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
