"""Did the kernel end a process for want of memory? It says nothing to anybody, but it counts."""

from pathlib import Path

# The whole machine's count, where the kernel keeps one (Linux 4.13 and later); readable for everybody.
VMSTAT = Path("/proc/vmstat")


def count_oom_kills(vmstat: Path = VMSTAT) -> int | None:
    """How many processes the kernel has killed for want of memory since it started; None where it doesn't say."""
    if not vmstat.is_file():
        return None
    for line in vmstat.read_text(encoding="utf-8").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def tell_oom_kills(before: int | None, after: int | None) -> str:
    """`the kernel killed 1 process here for want of memory meanwhile`; empty where it killed none, or doesn't say."""
    killed = (after or 0) - (before or 0) if before is not None else 0
    if killed <= 0:
        return ""
    what = "a process" if killed == 1 else f"{killed} processes"
    return f"the kernel of this machine killed {what} for want of memory meanwhile (oom_kill in {VMSTAT})"
