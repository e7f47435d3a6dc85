"""The library of kernels: built once on each machine by its own compiler, for its own processor, loaded beside torch.

What is built is kept in the user's cache under a name that says what it was built of: the sources, the command, the
compiler's version, the processor's instructions. Whoever finds the name, and beside it the sum of what it names, has
the right library; only a damaged one is replaced. It is written beside its place and renamed, under a lock that the
kernel takes back from a process that dies, so a kill leaves nothing to wait on. All ranks of a machine come here: the
first builds, the others wait and find.
"""

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
from pathlib import Path

from runjob.schemas.errors import MissingError
from runjob.schemas.file_lock import held
from runjob.schemas.machine import kernel_compiler, missing_kernel_compiler
from runjob.schemas.manifest import sha256_of
from runjob.schemas.run import cache_home, sync_path, write_atomic

HERE = Path(__file__).parent
SOURCES = ("softmax.cpp", "norm.cpp", "elementwise.cpp", "cross_entropy.cpp")
HEADERS = ("numbers.h",)
# -march=native: vectors of this processor. No -ffast-math: a NaN must stay one. -fopenmp asks for libgomp.so.1, the
# very name under which torch has loaded its own, so no second pool of threads comes to life.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
# Two seconds on an idle core; a machine may be busy
BUILD_WITHIN_S = 300.0


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, built where they are not yet. MissingError says why there are none."""
    compiler = kernel_compiler()
    if compiler is None:
        raise MissingError(missing_kernel_compiler())
    try:
        return ctypes.CDLL(str(built(compiler, cache_home() / "kernels")))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"the kernels can't be built or loaded: {error}") from error


def built(compiler: str, folder: Path) -> Path:
    """The library's file in this folder."""
    place = folder / f"{key_of(compiler)}.so"
    if is_whole(place):
        return place
    folder.mkdir(parents=True, exist_ok=True)
    busy = MissingError(f"{place}: another process has been building it for {BUILD_WITHIN_S:.0f} s")
    with held(place.with_suffix(".lock"), patience_s=BUILD_WITHIN_S, busy=busy, broken=MissingError):
        if not is_whole(place):
            for left in folder.glob(f"{place.stem}.{platform.node()}.*.part"):  # of a compiler that was killed
                left.unlink()
            build(compiler, place)
    return place


def build(compiler: str, place: Path) -> None:
    unfinished = place.with_name(f"{place.stem}.{platform.node()}.{os.getpid()}.part")
    argv = (compiler, *FLAGS, "-o", str(unfinished), *(str(HERE / name) for name in SOURCES))
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_WITHIN_S, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            raise MissingError(f"{compiler} can't build the kernels: {said}")
        sync_path(unfinished)
        write_atomic(sum_file(place), sha256_of(unfinished))
        unfinished.rename(place)
    finally:
        unfinished.unlink(missing_ok=True)


def is_whole(place: Path) -> bool:
    """Is it there, and what the compiler wrote? A bit that flipped in a machine's code is an answer like any other."""
    try:
        return sum_file(place).read_text(encoding="utf-8") == sha256_of(place)
    except (OSError, UnicodeDecodeError):
        return False


def sum_file(place: Path) -> Path:
    return place.with_suffix(".sha256")


def key_of(compiler: str) -> str:
    """A hash of everything that decides what the library computes, to the last bit."""
    texts = [(HERE / name).read_text(encoding="utf-8") for name in (*SOURCES, *HEADERS)]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    return hashlib.sha256("\0".join([*texts, *FLAGS, version, instructions()]).encode()).hexdigest()[:32]


def instructions() -> str:
    """What -march=native looks at: the first processor's model and instruction sets, as Linux tells them."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    told = ("model name", "flags", "Features", "CPU part")
    first = info.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.split(":")[0].strip() in told)
