"""The machine beside which speeds are read: its rate at large matrix products, and the versions of what computes. A
process of its own (`python -m benchmarks.speed.machine`)."""

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.speed.processes import ROOT, execute
from runjob.schemas.machine import detect_machine

# Large enough to be bound by arithmetic (2048: 25 MB of fp32 operands), small enough for seconds on two cores
SIZE_CPU, SIZE_CUDA = 2048, 8192
TIMES = 8


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`fp32` and `bf16`: operations a second."""

    device: str
    processor: str
    cores: int
    threads: int
    cuda: bool
    fp32: float
    bf16: float
    versions: dict[str, str]


def look(threads: int | None) -> Facts:
    """With so many threads; None: as many as torch takes."""
    wanted = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    said = execute([sys.executable, "-m", "benchmarks.speed.machine"], os.environ | wanted, ROOT)
    return Facts(**json.loads(said.splitlines()[-1]))


def rate(dtype: str) -> float:
    """Of a square product; the best of some, since nothing makes a machine faster than it is."""
    import torch

    cuda = torch.cuda.is_available()
    size, device = (SIZE_CUDA, "cuda") if cuda else (SIZE_CPU, "cpu")
    left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best = float("inf")
    for _ in range(TIMES + 1):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        left @ right
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best)


def main() -> None:
    import torch

    machine, cuda = detect_machine(), torch.cuda.is_available()
    facts = Facts(
        device=torch.cuda.get_device_name() if cuda else machine.processor,
        processor=machine.processor,
        cores=machine.cores,
        threads=torch.get_num_threads(),
        cuda=cuda,
        fp32=rate("float32"),
        bf16=rate("bfloat16"),
        versions={name: version(name) for name in ("torch", "transformers", "accelerate", "deepspeed", "tokenizers")},
    )
    print(json.dumps(vars(facts)))


if __name__ == "__main__":
    main()
