"""Whole steps of the worker's engine, each in a process of its own, as DeepSpeed leaves memory of one engine to the
next: the bytes of tensors that live at most from the second step on, beside what the estimate says of that job."""

import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import random
import socket
import tempfile
from pathlib import Path

import torch

from benchmarks.memory.allocator import mark, watch
from benchmarks.memory.as_gpu import as_on_gpu
from benchmarks.memory.fit import APART, MASKABLE, MODES
from benchmarks.memory.fit import NETWORKS as FITTED
from benchmarks.memory.networks import Case, job_of, micro_batch, module_of
from runjob.data.batches import MicroBatch
from runjob.runner.compile import compile_job
from runjob.runner.memory_estimate import Memory, estimate_memory
from runjob.runner.worker.engine import Engine, start_process_group
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine

# Parts of a process and of a GPU that are no tensors
NO_TENSORS = ("process", "overhead")
MACHINE = Machine(cores=2, gpus=("some GPU",), processor="some processor")
# Much smaller networks than a job's have much smaller buckets
BUCKET = 100_000
NETWORKS = (*FITTED, ("roberta", "mlm"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    case: Case
    zero: int
    measured: int
    estimated: int

    @property
    def error(self) -> float:
        return self.estimated / self.measured - 1


def scoring_cases(number: int) -> list[Case]:
    """Sizes, settings and networks that no fitting case has: each network and mode in turn, the rest by lot."""
    draw = random.Random(2)
    cases: list[Case] = []
    while len(cases) < number:
        index = len(cases)
        family, objective = NETWORKS[index % len(NETWORKS)]
        mode = MODES[index % len(MODES)]
        checkpointing = draw.random() < 0.25 and (family, objective) != ("mpnet", "mlm")
        masked = (family, objective) in MASKABLE and draw.random() < 0.2
        heads = draw.choice((3, 4, 6))
        width = heads * draw.choice((16, 24, 32))
        cases.append(
            Case(
                family=family,
                objective=objective,
                mode=mode,
                width=width,
                inner=width * draw.choice((2, 3, 4)),
                layers=draw.choice((2, 3, 5, 6)),
                heads=heads,
                length=draw.choice((64, 96, 128, 200)),
                rows=draw.choice((2, 4, 6, 8)),
                classes=draw.choice((400, 1000, 3000)),
                dropout=draw.choice((0.0, 0.1, 0.1)),
                checkpointing=checkpointing,
                masked=masked,
                apart=(family, objective) in APART and not masked and draw.random() < 0.3,
                accumulation=draw.choice((1, 2)),
                zero=draw.choice((0, 0, 0, 1, 2, 3)) if mode.endswith("bf16_params") or draw.random() < 0.4 else 0,
                bucket=BUCKET,
            )
        )
    return cases


def score(case: Case) -> Scored:
    """In a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as alone:
        return alone.apply(_score, (case,))


def _score(case: Case) -> Scored:
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(case, Path(folder))
        estimated = estimate(job)
        assert estimated is not None
        tensors = sum(part.bytes for part in (*estimated.device, *estimated.main) if part.name not in NO_TENSORS)
        measured = measure(job, case, Path(folder))
        return Scored(case=case, zero=job.hardware.zero, measured=measured, estimated=tensors)


def estimate(job: Job) -> Memory | None:
    plan = compile_job(job, MACHINE)
    return estimate_memory(job, plan.batch, ranks_per_node=1)


def measure(job: Job, case: Case, folder: Path) -> int:
    """The most bytes of tensors in the second and third step of an engine of one rank."""
    alone()
    config = folder / "deepspeed.json"
    config.write_text(json.dumps(dict(compile_job(job, MACHINE).deepspeed)))
    tensors = micro_batch(case)
    predicted = int((tensors["labels"] != -100).sum())
    micro = MicroBatch(
        tensors=tensors, first_sample=0, predicted=predicted, tokens=tensors["input_ids"].numel(), digests=()
    )

    def three_steps() -> None:
        engine = Engine(module_of(job, case), config, ranks=1, compiled=False)
        with as_on_gpu() if case.mode.startswith("gpu") else contextlib.nullcontext():
            for _ in range(3):
                mark()
                with engine.casts_kept():
                    for index in range(case.accumulation):
                        last = index == case.accumulation - 1
                        engine.train_micro_batch(
                            micro, predicted_in_step=predicted * case.accumulation, last=last, seed=1
                        )
                engine.gradient_norm()
                engine.step(1e-3)

    _, _, second, third = watch(three_steps)
    return max(second.peak, third.peak)


def alone() -> None:
    """A process group of this process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "DS_ACCELERATOR": "cpu"}
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    start_process_group()
