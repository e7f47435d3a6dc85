"""Memory that is not there: recognised by what the libraries really raise, answered with a setting."""

from pathlib import Path

import numpy as np
import pytest
import torch

from runjob.runner.worker.memory import answering_memory, is_memory_short
from runjob.schemas.errors import MemoryShortError
from runjob.schemas.job import Job
from runjob.schemas.read import read_job

# More than any machine has: the allocators refuse at once
PETABYTE = 2**50


@pytest.fixture
def job() -> Job:
    sets = ["training.global_batch=8", "training.micro_batch=4"]
    return read_job(Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml", sets).job


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(PETABYTE, dtype=torch.uint8),
        lambda: np.empty(PETABYTE, dtype=np.uint8),
        lambda: bytearray(PETABYTE),
    ],
    ids=["torch", "numpy", "python"],
)
def test_an_allocation_that_failed_is_answered(job: Job, allocate) -> None:
    with (
        pytest.raises(
            MemoryShortError, match=r"out of memory in training \(.*\): runjob resume some-1 --set"
        ) as raised,
        answering_memory(job, run_id="some-1", ranks=1, where="training"),
    ):
        allocate()
    assert "training.micro_batch=2 (now 4; the global batch stays 8 rows" in str(raised.value)


def test_a_gpu_says_it_in_its_own_class() -> None:
    assert is_memory_short(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."))
    assert is_memory_short(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


def test_other_errors_stay_what_they_are(job: Job) -> None:
    with (
        pytest.raises(RuntimeError, match="must match the size"),
        answering_memory(job, run_id="some-1", ranks=1, where="training"),
    ):
        torch.ones(2).add(torch.ones(3))
