"""How much memory a step takes at most, part by part, by arithmetic on a job: what lies there all the time as DeepSpeed
lays it out (0.19.8), and at three moments of a step what comes and goes.

    forward     all that the forward pass keeps, and the loss          (activations + loss)
    backward    the same, less the loss, and one layer's gradients     (activations + passing)
    exchange    all gradients, summed over micro batches and ranks     (gradients twice where ZeRO cuts them)
    update      the optimiser's own copies

The moment that takes most is what must fit. P: parameters; a rank of N holds 1 / N of what its ZeRO stage cuts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runjob.runner.computation import block_weights
from runjob.runner.estimate import checkpoint_bytes, count_parameters
from runjob.runner.memory_activations import Activations, activations
from runjob.runner.memory_sizes import Micro
from runjob.runner.model_shape import Shape, shape_of, teaching_job
from runjob.schemas.end_to_end import end_to_end
from runjob.schemas.job import Job, texts_of
from runjob.schemas.job_model import CausalLM, Classification, Objective, SentenceEmbedding
from runjob.schemas.plan import Batch

MIB = 2**20
# Elements that ZeRO 1 to 3 reduce at once, and that ZeRO 3 gathers ahead, where hardware.deepspeed says nothing
BUCKET, PREFETCH = 500_000_000, 50_000_000
# Python, torch, DeepSpeed, transformers and the tables of a process: its resident memory before the network is built
PROCESS_BYTES = 540 * MIB
# A CUDA context with cuBLAS's workspace, and what the allocator rounds up; not measured (docs/memory.md)
CUDA_CONTEXT_BYTES = 640 * MIB
CUDA_ROUNDING = 0.03
MOMENTS = 8  # bytes of both of Adam's, in fp32


@dataclass(frozen=True, kw_only=True)
class Part:
    """`name` as the tables call it; `why`: where the number comes from."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one rank takes at the `moment` that takes most: of its GPU (`device`, empty where it has none), and of main
    memory; `copy`: of main memory once a machine, where rank 0 saves. `ranks` share a machine."""

    zero: int
    moment: str
    device: tuple[Part, ...]
    main: tuple[Part, ...]
    copy: Part
    ranks: int

    @property
    def device_bytes(self) -> int:
        return total(self.device)

    @property
    def main_bytes(self) -> int:
        """Of one machine."""
        return self.ranks * total(self.main) + self.copy.bytes


def total(parts: Iterable[Part]) -> int:
    return sum(part.bytes for part in parts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What decides how much a step takes; `bucket` and `ahead` in elements."""

    parameters: int
    shape: Shape
    number: int  # bytes of a parameter in the network
    ranks: int
    zero: int
    accumulates: bool
    bucket: int
    ahead: int
    activations: Activations


def estimate_memory(job: Job, batch: Batch, *, ranks_per_node: int) -> Memory | None:
    """None where the network's sizes can't be known here, or nobody has measured its family."""
    shape = shape_of(job)
    found = None if shape is None else activations(job, shape, micro_of(job, shape, batch))
    if shape is None or found is None:
        return None
    step = step_of(job, shape, batch, found)
    standing, moments = [*standing_parts(step), *teacher_parts(job, batch)], moments_of(step)
    moment = max(moments, key=lambda name: total(moments[name]))
    parts = [part for part in (*standing, *moments[moment]) if part.bytes]
    away = [part for part in parts if part.name in offloaded(job)]
    parts = [part for part in parts if part not in away]
    process = Part(name="process", bytes=PROCESS_BYTES, why="Python, torch and DeepSpeed, measured")
    size = checkpoint_bytes(step.parameters)
    on_gpu = job.hardware.device == "cuda"
    return Memory(
        zero=step.zero,
        moment=moment,
        device=(*parts, cuda_overhead(parts)) if on_gpu else (),
        main=(*away, process) if on_gpu else (*parts, *away, process),
        copy=Part(name="checkpoint copy", bytes=size, why="12 bytes a parameter, once a machine"),
        ranks=ranks_per_node,
    )


def estimate_stages(job: Job, batch: Batch, *, ranks_per_node: int) -> tuple[Memory, ...]:
    """The same job at every ZeRO stage that it could have."""
    found = []
    for zero in (0, 1, 2, 3):
        refused = (job.training.precision == "bf16_params" and zero == 0) or (job.training.compile and zero == 3)
        other = replace(job, hardware=replace(job.hardware, zero=zero))
        one = None if refused else estimate_memory(other, batch, ranks_per_node=ranks_per_node)
        found += [] if one is None else [one]
    return tuple(found)


def step_of(job: Job, shape: Shape, batch: Batch, found: Activations) -> Step:
    parameters = count_parameters(job)
    if parameters is None:
        parameters = about_parameters(shape)
    given: Mapping[str, Any] = job.hardware.deepspeed.get("zero_optimization", {})
    bucket, ahead = given.get("reduce_bucket_size", BUCKET), given.get("stage3_prefetch_bucket_size", PREFETCH)
    return Step(
        parameters=parameters,
        shape=shape,
        number=2 if job.training.precision in ("bf16_params", "fp16") else 4,
        ranks=batch.ranks,
        zero=job.hardware.zero,
        accumulates=batch.accumulation > 1,
        # a processor's memory is taken when it is written to, and no more is
        bucket=int(bucket) if job.hardware.device == "cuda" else min(int(bucket), parameters),
        ahead=int(ahead),
        activations=found,
    )


def about_parameters(shape: Shape) -> int:
    """Of a checkpoint that is not here: its matrices and its table of tokens; biases and norms are a thousandth."""
    return shape.layers * block_weights(shape) + shape.classes * shape.width + shape.width**2


def micro_of(job: Job, shape: Shape, batch: Batch) -> Micro:
    """The widest micro batch: every row as long as rows may be."""
    length, objective, lines = job.data.sequence_length, job.objective, job.data.layout == "lines"
    return Micro(
        rows=texts_of(job) * batch.micro_batch if batch.micro_tokens is None else max(batch.micro_tokens // length, 1),
        length=length,
        hidden=asked_in(objective, length),
        # padding of a decoder's rows is hidden by the same mask as what lies ahead
        masked=job.data.attention == "document" or (lines and shape.family == "gpt2"),
        apart=end_to_end(job, family=shape.family),
        again=job.training.gradient_checkpointing,
        objective=objective.kind,
    )


def asked_in(objective: Objective, length: int) -> int | None:
    """How many places of a row the head sees; None: all."""
    if isinstance(objective, CausalLM | Classification | SentenceEmbedding):
        return None
    return round(objective.probability * length)


def standing_parts(step: Step) -> list[Part]:
    """Weights and optimiser, from the first step to the last."""
    cut = share(step.parameters, step.ranks)
    own = cut if step.zero == 3 else step.parameters
    held = cut if step.zero else step.parameters
    parts = [Part(name="weights", bytes=step.number * own, why=f"{step.number} bytes x {own:,}")]
    if step.zero or step.number == 2:
        parts.append(Part(name="fp32 weights", bytes=4 * held, why=f"4 bytes x {held:,}, the optimiser's own"))
    parts.append(Part(name="optimiser", bytes=MOMENTS * held, why=f"{MOMENTS} bytes x {held:,}: both moments of Adam"))
    if step.zero:
        why = f"{step.number} bytes x {step.bucket:,}: DeepSpeed's reduce_bucket_size"
        parts.append(Part(name="bucket", bytes=step.number * step.bucket, why=why))
    return parts


def teacher_parts(job: Job, batch: Batch) -> list[Part]:
    """Of vectors that are learnt from another network's: its weights, and what one of its layers computes at a time, of
    the same micro batch; of nothing is kept anything for a way back. None where its sizes can't be known here."""
    teaching = teaching_job(job)
    shape = None if teaching is None else shape_of(teaching)
    if teaching is None or shape is None:
        return []
    counted = count_parameters(teaching)
    parameters = about_parameters(shape) if counted is None else counted
    micro = micro_of(teaching, shape, batch)
    # a layer's input and output, and the widest state between them
    once = 4 * micro.rows * micro.length * (2 * shape.width + 2 * shape.inner)
    return [
        Part(name="teacher", bytes=4 * parameters, why=f"4 bytes x {parameters:,}, which nobody trains"),
        Part(name="teacher's layer", bytes=once, why="states of one of its layers at a time: roughly"),
    ]


def moments_of(step: Step) -> dict[str, list[Part]]:
    found, each = step.activations, f"{step.number} bytes a parameter"
    before = Part(name="gradients", bytes=gradients_before(step), why=f"{each}, of earlier micro batches")
    after = Part(name="gradients", bytes=gradients_after(step), why=each)
    kept = Part(name="activations", bytes=found.kept, why="kept of one micro batch (docs/memory.md)")
    loss = Part(name="loss", bytes=found.loss, why="logits of a chunk and their gradients")
    passing = Part(name="passing", bytes=found.passing, why="one layer's gradients by its activations")
    gathering = Part(name="gathered", bytes=gathered(step), why="parameters of other ranks, ahead of their layer")
    return {
        "forward": [before, gathering, kept, loss],
        "backward": [before, gathering, kept, passing],
        "exchange": [after, Part(name="exchange", bytes=exchange_bytes(step), why="gradients on their way")],
        "update": [after, Part(name="update", bytes=update_bytes(step), why="gradients in the optimiser's form")],
    }


def gradients_before(step: Step) -> int:
    """What a forward pass finds there: the sums of the micro batches before it."""
    if step.zero == 3 or (step.zero == 2 and step.accumulates):
        return step.number * share(step.parameters, step.ranks)
    return step.number * step.parameters if step.accumulates else 0


def gradients_after(step: Step) -> int:
    """Of a whole step, when the last backward pass ends."""
    cut = step.zero >= 2
    return step.number * (share(step.parameters, step.ranks) if cut else step.parameters)


def exchange_bytes(step: Step) -> int:
    """Beside them at the end of a backward pass: sums over ranks, sums over micro batches, and of the table of tokens,
    which is read at both ends of the network, gradients that wait for each other."""
    table = (2 if step.accumulates or step.zero >= 2 else 1) * step.number * step.shape.classes * step.shape.width
    cut = step.number * share(step.parameters, step.ranks)
    match step.zero:
        case 0:
            return max(table, step.number * min(step.parameters, BUCKET) if step.ranks > 1 else 0)
        case 1:
            return max(table, cut)
        case 2:
            return table + (cut if step.accumulates else 0)
        case _:
            return table + gathered(step)


def gathered(step: Step) -> int:
    """What ZeRO 3 brings together of other ranks' parameters, ahead of the layer that reads them."""
    if step.zero != 3:
        return 0
    table = step.shape.classes * step.shape.width
    return step.number * min(step.parameters, step.ahead + table)


def update_bytes(step: Step) -> int:
    cut = share(step.parameters, step.ranks)
    if step.zero == 0:
        return 4 * step.parameters if step.number == 2 else 0
    still = step.number * step.shape.classes * step.shape.width if step.zero == 3 else 0
    return (4 + (step.number if step.number == 2 else 0)) * cut + still


def share(parameters: int, ranks: int) -> int:
    return -(-parameters // ranks)


def offloaded(job: Job) -> set[str]:
    """Parts that lie in main memory instead of a GPU's."""
    names: set[str] = set()
    if job.hardware.offload.optimizer == "cpu":
        names |= {"optimiser", "fp32 weights"}
    if job.hardware.offload.parameters == "cpu":
        names |= {"weights"}
    return names


def cuda_overhead(parts: Iterable[Part]) -> Part:
    size = CUDA_CONTEXT_BYTES + round(CUDA_ROUNDING * total(parts))
    return Part(name="overhead", bytes=size, why="a CUDA context, and 3 % that the allocator rounds up: assumed")
