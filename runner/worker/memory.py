"""Running out of memory is nobody's bug: it is answered with the setting to change. A rank that the kernel kills says
nothing any more; for that one the supervisor answers (launchers/kernel.py). How much it takes stands in each `train`
record, so that one sees it coming."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runjob.schemas.errors import MemoryShortError
from runjob.schemas.job import Job
from runjob.schemas.less_memory import Where, say_less_memory

# torch has a class for GPUs alone; what its CPU allocator, cuBLAS and Apple's GPU raise is known by its words
WORDS = (
    "DefaultCPUAllocator: ",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "MPS backend out of memory",
)


def peak_memory() -> int:
    """Bytes that this process has had at most: of its GPU where it trains on one, else of main memory."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if on_gpu:
        return on_gpu
    # Linux counts in KiB, macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_memory_short(error: BaseException) -> bool:
    """Is this an allocation that failed, of torch, numpy or Python itself?"""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


@contextmanager
def answering_memory(job: Job, *, run_id: str, ranks: int, where: Where) -> Iterator[None]:
    """Raise MemoryShortError for what ran out of memory inside."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_short(error):
            raise
        answer = say_less_memory(job, run_id=run_id, ranks=ranks, where=where)
        raise MemoryShortError(f"out of memory in {where} ({in_short(error)}): {answer}") from error


def in_short(error: BaseException) -> str:
    """What was asked for, of a message that may go on about fragmentation: its first sentence."""
    text = str(error).strip() or type(error).__name__
    _, found, tail = text.partition("DefaultCPUAllocator: ")
    text = tail if found else text
    return text.splitlines()[0].split(". ")[0].rstrip(".")
