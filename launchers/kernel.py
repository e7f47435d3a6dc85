"""Did the kernel end a process for want of memory? It says nothing to anybody, but it counts, and it keeps a log."""

import os
import re
from pathlib import Path

# The whole machine's count, where the kernel keeps one (Linux 4.13 and later); readable for everybody.
VMSTAT = Path("/proc/vmstat")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
# The kernel's log: for root, and for everybody where kernel.dmesg_restrict is 0
LOG = Path("/dev/kmsg")
KILLED = re.compile(r"[Oo]ut of memory.*: Killed process (\d+) ")
# One record is one read, and never longer than this
RECORD_BYTES = 8192


def count_oom_kills(vmstat: Path = VMSTAT) -> int | None:
    """How many processes the kernel has killed for want of memory since it started; None where it doesn't say."""
    return _count_in(vmstat)


def count_group_oom_kills(own: Path = OWN_GROUPS, groups: Path = CONTROL_GROUPS) -> int | None:
    """Those of this process's own control group, of version 2 or 1; None where there is none, or none can be seen."""
    if not own.is_file():
        return None
    for line in own.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files = [groups / path.lstrip("/") / "memory.events"]
        elif "memory" in controllers.split(","):
            # in a container the path is the host's, and what it names lies at the root
            files = [groups / "memory" / inside / "memory.oom_control" for inside in (path.lstrip("/"), "")]
        else:
            continue
        count = next((_count_in(file) for file in files if file.is_file()), None)
        if count is not None:
            return count
    return None


def _count_in(file: Path) -> int | None:
    if not file.is_file():
        return None
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def killed_by_kernel(since_s: float, log: Path = LOG) -> tuple[int, ...] | None:
    """The pids that the kernel's log names as killed for want of memory since a moment of time.monotonic(), which is
    the log's own clock to within seconds; None where the log may not be read."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    found = []
    try:
        while record := _next_record(descriptor):
            head, _, text = record.partition(";")
            fields = head.split(",")
            named = KILLED.search(text)
            if named and len(fields) > 2 and int(fields[2]) / 1e6 >= since_s:
                found.append(int(named[1]))
    finally:
        os.close(descriptor)
    return tuple(found)


def _next_record(descriptor: int) -> str:
    """Empty at the end of the log."""
    while True:
        try:
            return os.read(descriptor, RECORD_BYTES).decode("utf-8", errors="replace")
        except BrokenPipeError:  # overwritten while we read; the next read gives the oldest that is left
            continue
        except OSError:
            return ""


def tell_oom_kills(killed: int | None) -> str:
    """`the kernel killed a process here for want of memory meanwhile`; empty where it killed none, or doesn't say."""
    if not killed or killed < 0:
        return ""
    what = "a process" if killed == 1 else f"{killed} processes"
    return f"the kernel of this machine killed {what} for want of memory meanwhile (oom_kill in {VMSTAT})"
