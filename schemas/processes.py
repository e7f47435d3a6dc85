"""Which processes there are, and whether the one that was started then still lives, by the kernel's own table.

Apart from lifeline.py, whose requests to the kernel take ctypes: 5 ms that `ps` and `plan` do without.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, kw_only=True)
class ProcessFacts:
    """One line of the kernel's process table; `start_time` tells a process from a later one with the same pid, and
    `stopped` is one that somebody holds up (SIGSTOP, a debugger)."""

    pid: int
    parent: int
    zombie: bool
    stopped: bool
    start_time: int


def read_process(pid: int) -> ProcessFacts | None:
    """The process with this pid, or None; always None where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in brackets and may itself hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return ProcessFacts(
        pid=pid, parent=int(fields[1]), zombie=fields[0] in "ZX", stopped=fields[0] in "Tt", start_time=int(fields[19])
    )


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
