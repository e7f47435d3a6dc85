"""Limits of the kernel and small disks, in which runs come to grief for real."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    """A soft limit of what is started meanwhile."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextlib.contextmanager
def control_group(memory_bytes: int) -> Iterator[None]:
    """A group with a limit of memory for what is started meanwhile; version 1 or 2."""
    v1 = Path("/sys/fs/cgroup/memory")
    root = v1 if v1.is_dir() else Path("/sys/fs/cgroup")
    group = root / f"runjob-record-{os.getpid()}"
    group.mkdir()
    name = "memory.limit_in_bytes" if root == v1 else "memory.max"
    (group / name).write_text(str(memory_bytes))
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    before = next(line for line in lines if ":memory:" in line or line.startswith("0::")).split(":", 2)[2]
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (root / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(folder: Path, *, leave: int) -> None:
    free = shutil.disk_usage(folder).free
    with (folder / "filler").open("wb") as file:
        file.write(b"\0" * (free - leave))
