"""Small networks of many sizes do a forward and a backward pass, and the bytes that live are linear in those sizes:
each is a sum of tensors that some operation keeps."""

import contextlib
import dataclasses
import random
from pathlib import Path

import torch

from benchmarks.memory.allocator import mark, watch
from benchmarks.memory.as_gpu import as_on_gpu
from benchmarks.memory.networks import SHARE, Case, job_of, micro_batch, module_of
from runjob.runner.memory_sizes import Micro, Sizes, sizes_of
from runjob.runner.model_shape import shape_of

MODES = ("fp32", "bf16", "bf16 fused", "bf16_params", "gpu fp32", "gpu bf16", "gpu bf16_params")
# RoBERTa's layers are BERT's: it is not fitted, only scored
NETWORKS = (
    ("bert", "mlm"),
    ("gpt2", "clm"),
    ("modernbert", "mlm"),
    ("deberta_v2", "mlm"),
    ("mpnet", "mlm"),
    ("mpnet", "plm"),
    ("canine", "char"),
    ("canine", "char_ar"),
)
HOWS: dict[str, dict[str, object]] = {"drops": {}, "plain": {"dropout": 0.0}, "recomputed": {"checkpointing": True}}
MASKABLE = {("bert", "mlm"), ("gpt2", "clm"), ("modernbert", "mlm"), ("mpnet", "mlm"), ("mpnet", "plm")}
APART = {("bert", "mlm"), ("modernbert", "mlm"), ("roberta", "mlm")}
CASES = 24


def fitting_cases(family: str, objective: str, mode: str, how: str) -> list[Case]:
    """The same sizes for every network and mode."""
    draw = random.Random(1)
    cases = []
    # where layers are computed again a whole one is the most: those that answer at few places would only hide how much
    may_be_apart = (family, objective) in APART and how != "recomputed"
    for index in range(CASES):
        heads = draw.choice((2, 4, 8))
        width = heads * draw.choice((8, 12, 16))
        cases.append(
            Case(
                family=family,
                objective=objective,
                mode=mode,
                width=width,
                inner=width * draw.choice((1, 2, 3, 5)),
                layers=draw.choice((1, 2, 3, 4)),
                heads=heads,
                length=draw.choice((40, 72, 104, 168)),
                rows=draw.choice((1, 2, 3)),
                classes=draw.choice((128, 256, 512, 1024)),
                masked=(family, objective) in MASKABLE and index % 4 == 1,
                apart=may_be_apart and index % 4 >= 2,
                **HOWS[how],  # type: ignore[arg-type]
            )
        )
    return cases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced:
    """Bytes over those before the micro batch: when the forward pass has ended, at most until then, at most later."""

    sizes: Sizes
    kept: int
    forward: int
    backward: int


def trace(case: Case, folder: Path) -> Traced:
    """A micro batch as the second of a step: every gradient is there already."""
    job = job_of(case, folder)
    shape = shape_of(job)
    assert shape is not None
    module, tensors = module_of(job, case), micro_batch(case)
    if case.precision == "bf16_params":
        module.bfloat16()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def step() -> None:
        with contextlib.ExitStack() as around:
            if case.mode.startswith("gpu"):
                around.enter_context(as_on_gpu())
            if case.precision == "bf16":
                around.enter_context(torch.autocast("cpu", torch.bfloat16))
            mark()
            answer = module(**tensors)
            mark()
            with torch.autocast("cpu", enabled=False):
                answer.loss_sum.backward()
            mark()

    _, forward, backward, _ = watch(step)
    return Traced(
        sizes=sizes_of(shape, micro_of(case)),
        kept=forward.after - forward.before,
        forward=forward.peak - forward.before,
        backward=backward.peak - forward.before,
    )


def micro_of(case: Case) -> Micro:
    return Micro(
        rows=case.rows,
        length=case.length,
        hidden=None if case.objective == "clm" else round(SHARE * case.length),
        masked=case.masked,
        apart=case.apart,
        again=case.checkpointing,
        objective="mlm" if case.objective == "char" else case.objective,
    )
