"""What a micro batch keeps from its forward pass for the way back, and what it needs besides for a moment. The bytes
that each value costs were measured (memory_kept.json, which `python -m benchmarks.memory fit` writes); the last matrix
and its loss, which are cut into chunks, are computed as worker/models/linear_loss.py cuts them.

Legend: N predicted places; H width, V classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runjob.runner.estimate import label_outputs
from runjob.runner.memory_sizes import OF_EVERY_LAYER, Micro, Sizes, sizes_of
from runjob.runner.model_shape import Shape
from runjob.schemas.job import Job
from runjob.schemas.job_model import Classification, SentenceEmbedding
from runjob.schemas.kernels import kernels_problem
from runjob.schemas.label_rules import BESIDE_TEXT

TABLE = Path(__file__).with_name("memory_kept.json")
# As in worker/models/linear_loss.py
CHUNK_BYTES = 256 * 2**20
BLOCK_BYTES = {"cuda": 64 * 2**20, "cpu": 4 * 2**20, "mps": 64 * 2**20}
ROUND_CLASSES = 64
# Of a loss over logits that are all there: themselves in 16 bits, and in fp32 their softmax and two gradients
PLAIN_LOSS_BYTES = 14
# Families whose layers are another's
LIKE = {"roberta": "bert"}

Bytes = Mapping[str, float]  # of each value, by name of the size


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Bytes of one micro batch: `kept` when its forward pass has ended; besides these `loss` at most until then, and
    `passing` at most in the backward pass."""

    kept: int
    loss: int
    passing: int


def activations(job: Job, shape: Shape, micro: Micro) -> Activations | None:
    """None where the table holds no such network."""
    bytes_each = bytes_of(job, shape)
    if bytes_each is None:
        return None
    kept, passing = bytes_each
    sizes = sizes_of(shape, micro)
    loss, more = loss_bytes(job, shape, int(sizes["asked"]))
    return Activations(kept=price(sizes, kept) + more, loss=loss, passing=price(one_layer(sizes), passing))


def bytes_of(job: Job, shape: Shape) -> tuple[Bytes, Bytes] | None:
    """Kept and passing."""
    objective = job.objective.kind
    family = LIKE.get(shape.family, shape.family)
    name = family if objective in ("clm", "mlm", *BESIDE_TEXT) else f"{family} {objective}"
    found = table().get(name, {}).get(operations(job), {})
    how = "recomputed" if job.training.gradient_checkpointing else "drops" if shape.drops else "plain"
    return (found[how]["kept"], found[how]["passing"]) if how in found else None


def operations(job: Job) -> str:
    """By which operations a job computes, as the table calls them."""
    training, device = job.training, job.hardware.device
    precision = "bf16_params" if training.precision == "fp16" else training.precision
    if device == "cuda":
        return f"gpu {precision}"
    problem = kernels_problem(precision=precision, device=device, compiled=training.compile)
    return f"{precision} fused" if problem is None and training.kernels != "torch" else precision


def one_layer(sizes: Sizes) -> Sizes:
    """The same sizes with those of all whole layers divided by them: the backward pass goes through one at a time."""
    whole = max(sizes["whole layers"], 1)
    return {
        name: size / (sizes["layers"] if name in OF_EVERY_LAYER else whole) if name.startswith("layer ") else size
        for name, size in sizes.items()
    }


def price(sizes: Sizes, bytes_each: Bytes) -> int:
    return round(sum(sizes[name] * each for name, each in bytes_each.items()))


def loss_bytes(job: Job, shape: Shape, asked: int) -> tuple[int, int]:
    """Of the last matrix and the loss: bytes for a moment, and bytes kept because chunks are several. `char_ar` is in
    the table; labels have logits at every place."""
    if isinstance(job.objective, SentenceEmbedding):  # a group's similarities are nothing beside a layer
        return 0, 0
    if isinstance(job.objective, Classification):
        return asked * label_outputs(job.objective) * PLAIN_LOSS_BYTES, 0
    if job.objective.kind == "char_ar":
        return 0, 0
    if job.training.precision == "fp16" or job.hardware.zero == 3 or job.training.compile:
        return asked * shape.classes * PLAIN_LOSS_BYTES, 0
    number = 4 if job.training.precision == "fp32" else 2
    classes = -(-shape.classes // ROUND_CLASSES) * ROUND_CLASSES if number == 2 else shape.classes
    chunks = max(-(-asked // max(CHUNK_BYTES // (classes * number), 1)), 1)
    rows = -(-asked // chunks)
    matrix = classes * shape.width
    block = min(rows * classes * 4, BLOCK_BYTES[job.hardware.device])
    moment = rows * classes * number + block + (matrix * number if number == 2 else 0)
    if chunks == 1:
        return moment, 0
    return moment + matrix * number, matrix * (4 - number)


@cache
def table() -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, Bytes]]]]:
    """Network -> operations -> how -> kept and passing -> bytes of each value."""
    read: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Bytes]]]] = json.loads(TABLE.read_text(encoding="utf-8"))[
        "bytes"
    ]
    return read
