"""The `extensions` stage: DeepSpeed's CPU accelerator compiles one C++ extension when its process group first starts
(25 to 54 s). Here it is a step with a name, not a silence inside the ranks, built into the cache once for each set of
versions. A stamp says that it is built, so that every later run passes in milliseconds and imports nothing."""

import fcntl
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.run import cache_home, write_atomic

# torch's own variable; a user who sets it keeps the extensions below what it says
DIRECTORY = "TORCH_EXTENSIONS_DIR"


def settle_environment() -> Path:
    """Before torch is imported: its extensions in our cache, a folder for each environment and set of versions (two
    environments with one folder rebuild each other's library at every start, inside the ranks); and ninja, which builds
    them and lies beside the interpreter of a virtual environment, on PATH."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]
    name = f"torch-{version('torch')}-deepspeed-{version('deepspeed')}-{environment}"
    above = Path(os.environ[DIRECTORY]) if os.environ.get(DIRECTORY) else cache_home() / "torch-extensions"
    os.environ[DIRECTORY] = str(above / name)
    return above / name


def main() -> int:
    die_with_parent()
    folder = settle_environment()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "built"
    if is_built(stamp):
        return 0
    with (folder / "runjob.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        if not is_built(stamp):
            build(folder, stamp)
    return 0


def is_built(stamp: Path) -> bool:
    """The stamp holds the path of the library, or `none` where there is no compiler and DeepSpeed goes without."""
    if not stamp.exists():
        return False
    library = stamp.read_text(encoding="utf-8").strip()
    return library == "none" or Path(library).exists()


def build(folder: Path, stamp: Path) -> None:
    print("building DeepSpeed's communication extension, once for this machine (up to a minute)", flush=True)
    # torch marks a build under way by a file; of a killed one it would wait for ever. We hold the lock: nobody builds.
    for left_over in folder.glob("*/lock"):
        left_over.unlink()
    from deepspeed.comm.torch import build_shm_op

    library = build_shm_op()
    write_atomic(stamp, library.__file__ if library is not None else "none")


if __name__ == "__main__":
    sys.exit(main())
