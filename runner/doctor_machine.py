"""Python, compilers, memory, threads, and the disk that runs are kept on: what it promises is tried, not asked."""

import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runjob.data.space import in_words
from runjob.runner.doctor import Finding, fail, ok, warn
from runjob.schemas.machine import kernel_compiler, missing_compiler, missing_kernel_compiler, usable_cores

GIB = 1024**3
# A checkpoint of 100 million parameters is 1.2 GB, and three are kept beside the best one.
LITTLE_DISK, NO_DISK = 10 * GIB, 1 * GIB
# torch with DeepSpeed alone takes half a GiB before the first weight.
LITTLE_MEMORY, NO_MEMORY = 4 * GIB, 1 * GIB
# States are judged by heartbeats some seconds old (launchers/heartbeat.py), tokens of services by minutes.
SKEW_S = 2.0
PYTHONS = ((3, 11), (3, 12))


def look_at_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in PYTHONS:
        return ok("python", f"{version}, {sys.executable}")
    return warn("python", f"{version}; tested are 3.11 and 3.12", "make clean install PYTHON=python3.12")


def look_at_packages() -> Finding:
    """Of those that runjob's own metadata names; what can be imported of torch and DeepSpeed is asked apart."""
    from importlib import metadata

    try:
        wanted = metadata.requires("runjob") or []
    except metadata.PackageNotFoundError:
        return warn("packages", "runjob is not installed as a package: what it needs is unknown", "make install")
    names = [re.split(r"[^A-Za-z0-9_.-]", one, maxsplit=1)[0] for one in wanted if "extra ==" not in one]
    missing = [name for name in names if not is_installed(name)]
    if missing:
        return fail("packages", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return ok("packages", f"runjob {metadata.version('runjob')} and the {len(names)} that it needs")


def is_installed(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def look_at_compiler() -> Finding:
    """A C++ compiler for the fused kernels, Python's headers besides for torch.compile."""
    if kernel_compiler() is None:
        return warn("compiler", f"{missing_kernel_compiler()}; torch's own are slower in bf16", "apt-get install g++")
    if (lacking := missing_compiler("cpu")) is not None:
        return warn("compiler", lacking, "apt-get install g++ python3-dev")
    return ok("compiler", f"{kernel_compiler()}, with Python's headers")


def look_at_memory() -> Finding:
    total, free = memory()
    if total is None or free is None:
        return ok("memory", "unknown on this system")
    said = f"{in_words(free)} free of {in_words(total)}"
    if free < NO_MEMORY:
        return fail("memory", said, "end what holds it: `ps aux --sort=-rss | head`")
    if free < LITTLE_MEMORY:
        return warn("memory", said, "the tiny jobs fit; for more, end what holds it: `ps aux --sort=-rss | head`")
    return ok("memory", said)


def memory() -> tuple[int | None, int | None]:
    """Of the machine or of the container, whichever is less: (in all, available)."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None, None
    fields = dict(line.split(":", 1) for line in info.read_text(encoding="ascii").splitlines())
    total, free = (int(fields[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    limit, used = (read_number(Path("/sys/fs/cgroup") / file) for file in ("memory.max", "memory.current"))
    if limit is None or used is None or limit >= total:
        return total, free
    return limit, min(free, max(limit - used, 0))


def read_number(file: Path) -> int | None:
    """The number in a file; none where there is no file, or the word `max`."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def look_at_threads() -> Finding:
    """A job's threads are its own (hardware.threads); these are what everything else takes."""
    cores, told = usable_cores(), os.environ.get("OMP_NUM_THREADS", "")
    said = f"{cores} core(s) for this process"
    if told.isdecimal() and int(told) > cores:
        return warn("threads", f"{said}, and OMP_NUM_THREADS={told}", f"unset it, or export OMP_NUM_THREADS={cores}")
    if not told or told.isdecimal():
        return ok("threads", said + (f", OMP_NUM_THREADS={told}" if told else ""))
    return warn("threads", f"{said}, and OMP_NUM_THREADS={told!r} is no number", "unset OMP_NUM_THREADS")


def look_at_disk(home: Path) -> Finding:
    folder = existing(home)
    free = shutil.disk_usage(folder).free
    files = os.statvfs(folder)
    said = f"{in_words(free)} free for {home}"
    remedy = "point RUNJOB_HOME to a larger disk, or delete old runs: `runjob ps --all`"
    if free < NO_DISK:
        return fail("disk", said, remedy)
    if files.f_files and files.f_favail < 10_000:
        return warn("disk", f"{said}, but only {files.f_favail:,} more files", remedy)
    return warn("disk", said, remedy) if free < LITTLE_DISK else ok("disk", said)


def look_at_home(home: Path) -> Finding:
    """Everything that a run's safety rests on, done once in a folder that is gone afterwards."""
    folder = existing(home)
    where = f"{home} on {file_system(folder)}"
    another = "point RUNJOB_HOME to a local disk: export RUNJOB_HOME=~/runs"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as scratch:
            broken = [name for name, works in TRIED.items() if not works(Path(scratch))]
    except OSError as error:
        return fail("home", f"{where}: can't be written: {error.strerror}", another)
    if broken == ["locks"]:
        return warn("home", f"{where} has no file locks: two orders at once are told apart by mkdir alone", another)
    if broken:
        return fail("home", f"{where} does not keep its word on: {', '.join(broken)}", another)
    return ok("home", f"{where}: {', '.join(TRIED)}")


def try_locks(scratch: Path) -> bool:
    with (scratch / "lock").open("ab") as first, (scratch / "lock").open("ab") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
    return False


def try_rename(scratch: Path) -> bool:
    """Over another file, as every record of a run is written."""
    (scratch / "old").write_text("old", encoding="ascii")
    (scratch / "new").write_text("new", encoding="ascii")
    (scratch / "new").replace(scratch / "old")
    return (scratch / "old").read_text(encoding="ascii") == "new" and not (scratch / "new").exists()


def try_mkdir(scratch: Path) -> bool:
    """One of two gets it: what decides between two orders to resume."""
    (scratch / "attempt").mkdir()
    try:
        (scratch / "attempt").mkdir()
    except FileExistsError:
        return True
    return False


def try_private(scratch: Path) -> bool:
    (scratch / "private").mkdir(mode=0o700)
    return (scratch / "private").stat().st_mode & 0o777 == 0o700


TRIED: dict[str, Callable[[Path], bool]] = {
    "locks": try_locks,
    "rename": try_rename,
    "mkdir": try_mkdir,
    "mode 0700": try_private,
}


def look_at_clock(home: Path) -> Finding:
    """Against the clock of the disk, which on a network disk is another machine's."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=existing(home)) as file:
            skew = Path(file.name).stat().st_mtime - time.time()
    except OSError as error:
        return warn("clock", f"not compared: {error.strerror}", "see `home` above")
    # what was installed cannot be younger than now
    if time.time() < Path(__file__).stat().st_mtime - 24 * 3600:
        return warn("clock", f"{time.strftime('%Y-%m-%d %H:%M')} is before runjob was installed", "timedatectl status")
    if abs(skew) > SKEW_S:
        return warn("clock", f"{abs(skew):.0f} s apart from the disk's", "set both by NTP: `timedatectl status`")
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z, as the disk's"))


def existing(path: Path) -> Path:
    """The nearest folder that is there: nothing is made for an examination."""
    return next(folder for folder in [path, *path.parents] if folder.is_dir())


def file_system(folder: Path) -> str:
    """Its kind, by the longest mount point above the folder."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "an unknown file system"
    rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    here = f"{folder.resolve()}/"
    # a space stands as \040 there
    above = [(row[1].replace("\\040", " ").rstrip("/"), row[2]) for row in rows]
    return max(((point, kind) for point, kind in above if here.startswith(f"{point}/")), key=lambda one: len(one[0]))[1]
