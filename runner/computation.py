"""How much a step of a job computes, by arithmetic on its sizes: what `plan` makes hours and dollars of.

A weight that multiplies a position costs six floating-point operations, a multiplication and an addition forward and
twice that backward (Kaplan et al. 2020, section 2.1). So does each product of attention, of which a position has two,
as wide as the network, for every one that it looks at (Chowdhery et al. 2022, appendix B). Tables that are looked up
multiply nothing, and a head only where something is predicted. Norms, softmax and the optimiser are left out: they
take time, yet no share of these operations worth counting.
"""

from dataclasses import dataclass

from runjob.runner.model_shape import Shape, shape_of, teaching_job
from runjob.schemas.characters import CHUNK, RATE
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job, texts_of
from runjob.schemas.job_model import (
    CausalLM,
    CharAR,
    MaskedLM,
    Objective,
    PermutedLM,
    RelationClassification,
    SentenceEmbedding,
    SequenceClassification,
    TokenClassification,
)
from runjob.schemas.plan import Batch, Work

OPERATIONS = 6
# Of a network that is asked and not trained
OPERATIONS_FORWARD = 2
# With gradient checkpointing activations are computed a second time, which is one forward pass more
OPERATIONS_RECOMPUTED = 8


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Of a step: input `tokens`, and the `positions` that are computed for them in rows of `length`, padding included;
    `most`: as if every row were full, since nobody knows them yet."""

    tokens: int
    positions: float
    length: float
    most: bool


def work_of(job: Job, batch: Batch, facts: Facts | None) -> Work:
    rows = rows_of_a_step(job, batch, facts)
    shape = shape_of(job)
    if shape is None:
        return Work(operations=None, tokens=rows.tokens, most=rows.most)
    each = OPERATIONS_RECOMPUTED if job.training.gradient_checkpointing else OPERATIONS
    operations = each * rows.positions * products(shape, job.objective, rows.length)
    if (teaching := teaching_job(job)) is not None and (teacher := shape_of(teaching)) is not None:
        operations += OPERATIONS_FORWARD * rows.positions * products(teacher, job.objective, rows.length)
    return Work(operations=round(operations), tokens=rows.tokens, most=rows.most)


def rows_of_a_step(job: Job, batch: Batch, facts: Facts | None) -> Rows:
    """Packed rows are full; how long the others are the prepared data say, and how wide their micro batches."""
    full = full_step(job, batch)
    if job.data.layout == "pack" or facts is None:
        differ = job.data.layout == "lines"
        return Rows(tokens=full, positions=full, length=job.data.sequence_length, most=differ)
    tokens = max(round(batch.global_batch * facts.tokens / facts.rows), 1)
    positions = tokens / (1 - facts.padding)
    texts = batch.global_batch * texts_of(job)
    return Rows(tokens=tokens, positions=positions, length=positions / texts, most=False)


def full_step(job: Job, batch: Batch) -> int:
    """Tokens of a step if every text of its rows were as long as it may be."""
    return batch.global_batch * texts_of(job) * job.data.sequence_length


def products(shape: Shape, objective: Objective, length: float) -> float:
    """Multiplications of one forward pass for one position of the input, in rows of `length`.

    >>> small = Shape(family="gpt2", width=768, layers=12, inner=3072, heads=12, classes=50257, buckets=0,
    ...     drops=True)
    >>> weights = 124_439_808 - 1024 * 768 - 12 * (13 * 768) - 2 * 768  # without positions, biases and norms
    >>> int(products(small, CausalLM(kind="clm"), 1024)) - 12 * 768 * 1024 == weights
    True
    """
    match objective:
        case CausalLM():
            # nobody looks ahead: half of the others, on average
            return shape.layers * (block_weights(shape) + attention(shape, length / 2)) + head_weights(shape)
        case MaskedLM():
            return body(shape, length) + objective.probability * head_weights(shape)
        case CharAR():
            return body(shape, length) + objective.probability * (order_weights(shape) + head_weights(shape))
        case PermutedLM():
            # hidden tokens stand there twice more (models/permuted_lm.py)
            more = 1 + 2 * objective.probability
            return more * body(shape, more * length) + objective.probability * head_weights(shape)
        case TokenClassification() | RelationClassification() | SentenceEmbedding():
            return body(shape, length)  # a head of a few labels is nothing beside it
        case SequenceClassification():
            return body(shape, length) - behind_first_state(shape, length)


def body(shape: Shape, length: float) -> float:
    """All layers that every position goes through."""
    if shape.family != "canine":
        return shape.layers * (block_weights(shape) + attention(shape, length))
    # a block before the deep ones, which looks at its own chunk, and one behind them; of four characters one goes deep
    local = 2 * block_weights(shape) + attention(shape, min(length, CHUNK)) + attention(shape, length)
    deep = shape.layers * (block_weights(shape) + attention(shape, length / RATE)) / RATE
    convolutions = RATE * shape.width**2 / RATE + 2 * RATE * shape.width**2
    return local + deep + convolutions


def behind_first_state(shape: Shape, length: float) -> float:
    """What of `body` a head for a row leaves out (models/canine_classes.py): of CANINE the way back to characters."""
    if shape.family != "canine":
        return 0
    return 2 * RATE * shape.width**2 + block_weights(shape) + attention(shape, length)


def block_weights(shape: Shape) -> int:
    """Of a layer's matrices: four of attention, and two of the feed-forward part, three where that is gated."""
    feed_forward = 3 if shape.family == "modernbert" else 2
    return 4 * shape.width**2 + feed_forward * shape.width * shape.inner


def attention(shape: Shape, seen: float) -> float:
    """Products of a position with `seen` others, and DeBERTa's with the distances to either side, from here and from
    there."""
    return 2 * shape.width * (seen + 2 * shape.buckets)


def head_weights(shape: Shape) -> int:
    dense = 0 if shape.family == "gpt2" else shape.width**2
    return dense + shape.width * shape.classes


def order_weights(shape: Shape) -> int:
    """The layer that `char_ar` adds (models/canine_ordered.py): blank and filled places are joined, both are keys and
    values, and the blank ones go on."""
    return 4 * shape.width**2 + block_weights(shape) + 2 * shape.width**2
