"""The `extensions` stage: DeepSpeed's CPU accelerator compiles one C++ extension when its process group first starts
(25 to 54 s, then cached by torch). Here it is a step with a name, not a silence inside the ranks. A stamp says that it
is built, so that every later run passes in milliseconds and imports nothing."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.run import cache_home, write_atomic


def put_tools_on_path() -> None:
    """ninja, which torch compiles with, lies beside the interpreter of a virtual environment."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def stamp() -> Path:
    """One for each interpreter and version that the extension is built against; it holds the library's path."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return cache_home() / "extensions" / f"{python}-torch-{version('torch')}-deepspeed-{version('deepspeed')}"


def main() -> int:
    die_with_parent()
    built = stamp()
    if built.exists() and Path(built.read_text(encoding="utf-8").strip()).exists():
        return 0
    print("building DeepSpeed's communication extension, once for this machine (up to a minute)", flush=True)
    put_tools_on_path()
    from deepspeed.comm.torch import build_shm_op

    library = build_shm_op()
    built.parent.mkdir(parents=True, exist_ok=True)
    # Without a compiler DeepSpeed goes without the extension: nothing to point at, asked again next time
    write_atomic(built, library.__file__ if library is not None else "none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
