"""Processes that must not outlive the one that started them, and how to tell whether a process still lives.

A training run is a chain: supervisor, torchrun, ranks. If the supervisor is killed with SIGKILL nobody is left to end
the others, so on Linux the kernel does it: every process of the chain asks for SIGKILL at its parent's death. Elsewhere
(macOS) there is no such request; there the ranks have to look at `supervisor_alive()` between steps.

Standard library only: ranks, supervisor and command line all import this.
"""

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

# The supervisor's "pid start_time", inherited by every process of a run.
SUPERVISOR_VARIABLE = "RUNJOB_SUPERVISOR"
# The number of the attempt that a process of a run belongs to.
ATTEMPT_VARIABLE = "RUNJOB_ATTEMPT"
# Set where a launcher alone answers signals (Slurm sends them to every process of a job): all below it ignore them.
SIGNALS_VARIABLE = "RUNJOB_SIGNALS"

LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class ProcessFacts:
    """One line of the kernel's process table; `start_time` tells a process from a later one with the same pid."""

    pid: int
    parent: int
    zombie: bool
    start_time: int


def read_process(pid: int) -> ProcessFacts | None:
    """The process with this pid, or None; always None where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in brackets and may itself hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return ProcessFacts(pid=pid, parent=int(fields[1]), zombie=fields[0] in "ZX", start_time=int(fields[19]))


def process_alive(pid: int, start_time: int) -> bool:
    """Does the very process that was started then still run? A zombie does not: it only waits to be reaped."""
    if LINUX:
        facts = read_process(pid)
        return facts is not None and not facts.zombie and facts.start_time == start_time
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def own_start_time() -> int:
    facts = read_process(os.getpid())
    return facts.start_time if facts is not None else 0


def supervisor_alive() -> bool:
    """Is the supervisor that started this run still there? True for a process that no supervisor started."""
    text = os.environ.get(SUPERVISOR_VARIABLE)
    if text is None:
        return True
    pid, _, start_time = text.partition(" ")
    return process_alive(int(pid), int(start_time))


def set_parent_death_signal() -> None:
    """Ask the kernel for SIGKILL when the parent dies; does nothing outside Linux."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent() -> None:
    """To be called first by every rank and by every process that `prepare` starts.

    The parent may have died before the request reached the kernel. Then the supervisor is dead too (its death is what
    killed the parent), or it lives and ends what is left of its stage itself.
    """
    set_parent_death_signal()
    if not supervisor_alive():
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be found and ended."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[ProcessFacts]:
    """Every process below `pid`, parents before children; empty where there is no /proc."""
    children: dict[int, list[ProcessFacts]] = {}
    proc = Path("/proc")
    for entry in proc.iterdir() if LINUX else ():
        facts = read_process(int(entry.name)) if entry.name.isdecimal() else None
        if facts is not None:
            children.setdefault(facts.parent, []).append(facts)
    found: list[ProcessFacts] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += [facts.pid for facts in below]
    return found


_LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _prctl(option: int, value: int) -> None:
    assert _LIBC is not None
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
