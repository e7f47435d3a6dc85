"""What torch and DeepSpeed say of this machine, as one JSON object on standard output: `runjob doctor` asks in a
process of its own, so that it has an answer too where importing them fails, or kills the process that tries."""

import json
import sys
from typing import Any


def main() -> int:
    print(json.dumps({"torch": ask_torch(), "deepspeed": ask_deepspeed()}))
    return 0


def ask_torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "available": torch.cuda.is_available(),
        "gpus": [ask_gpu(torch.cuda, index) for index in range(torch.cuda.device_count())],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def ask_gpu(cuda: Any, index: int) -> dict[str, Any]:  # noqa: ANN401 - the module torch.cuda
    """bf16 from compute capability 8.0 on: before it the GPU has no instruction for it."""
    facts = cuda.get_device_properties(index)
    try:
        free, _ = cuda.mem_get_info(index)
    except RuntimeError as error:  # a GPU in exclusive use, or one whose memory is full
        return {"name": facts.name, "error": str(error).splitlines()[0]}
    return {"name": facts.name, "bytes": facts.total_memory, "free": free, "bf16": facts.major >= 8}


def ask_deepspeed() -> dict[str, Any]:
    """That it can be imported; its compiled operations are not asked for, since training here uses none of them
    (docs/decisions/0006-deepspeed.md)."""
    try:
        import deepspeed

        return {"version": deepspeed.__version__}
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    sys.exit(main())
