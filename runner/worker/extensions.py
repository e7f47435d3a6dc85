"""The `extensions` stage: DeepSpeed's CPU accelerator compiles one C++ extension when its process group first starts
(25 to 54 s, then cached by torch). Here it is a step with a name, not a silence inside the ranks."""

import os
import sys
from pathlib import Path

from runjob.schemas.lifeline import die_with_parent


def put_tools_on_path() -> None:
    """ninja, which torch compiles with, lies beside the interpreter of a virtual environment."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def main() -> int:
    die_with_parent()
    put_tools_on_path()
    from deepspeed.comm.torch import build_shm_op

    build_shm_op()
    return 0


if __name__ == "__main__":
    sys.exit(main())
