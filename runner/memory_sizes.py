"""The sizes that a network's activations grow with: of a job's layers, its rows and what they predict, before anyone
says how many bytes each of them costs (memory_kept.json).

Legend: B rows of L places, N predicted places in all; H width, I inner width, A heads, V classes.
"""

from dataclasses import dataclass
from typing import Literal

from runjob.runner.computation import block_weights
from runjob.runner.model_shape import Shape
from runjob.schemas.characters import CHUNK, RATE, padded_length

Sizes = dict[str, float]
# Of a layer that is not whole too
OF_EVERY_LAYER = ("layer square", "layer distances", "layer state", "layer weights")


@dataclass(frozen=True, kw_only=True)
class Micro:
    """One micro batch: `rows` of `length` places, of each of which `hidden` are predicted (None: all); `masked`: a
    mask says for each pair of places of a row whether one sees the other; `apart`: rows are computed end to end,
    attention spreads them again, and the last layer of an mlm goes on behind it at the predicted places alone;
    `again`: layers are computed again on the way back, and of each its input is kept, whole as it is."""

    rows: int
    length: int
    hidden: int | None
    masked: bool
    apart: bool
    again: bool
    objective: Literal[
        "clm",
        "mlm",
        "plm",
        "char_ar",
        "token_classification",
        "relation_classification",
        "sequence_classification",
        "sentence_embedding",
    ]


def sizes_of(shape: Shape, micro: Micro) -> Sizes:
    """Name -> how many values, of one micro batch. Names that begin with `layer` are of all whole layers together,
    those with `last` of one that is not whole.

    >>> small = Shape(family="gpt2", width=8, layers=2, inner=32, heads=2, classes=100, buckets=0, drops=True)
    >>> micro = Micro(rows=3, length=5, hidden=None, masked=False, apart=False, again=False, objective="clm")
    >>> sizes = sizes_of(small, micro)
    >>> sizes["layer width"], sizes["layer pairs"], sizes["table"]
    (240.0, 300.0, 800)
    """
    length = micro.length
    predicted = length if micro.hidden is None else micro.hidden
    if micro.objective == "plm":
        length += 2 * predicted
    if shape.family == "canine":
        length = padded_length(length, rate=RATE, chunk=CHUNK)
    places, pairs = micro.rows * length, micro.rows * length * length
    # CANINE's deep layers read one state of four characters
    deep = RATE if shape.family == "canine" else 1
    # hidden characters that are predicted one after another look at each other in a layer of their own
    ordered = micro.rows * predicted if micro.objective == "char_ar" else 0
    masked = pairs if micro.masked or micro.objective == "plm" or shape.family == "deberta-v2" else 0
    # its last layer answers at the predicted places alone: worker/models/last_layer.py
    last = int(micro.apart and micro.objective == "mlm" and not micro.again)
    whole = shape.layers - last
    return {
        "layer width": whole * places * shape.width / deep,
        "layer inner": whole * places * shape.inner / deep,
        "layer place": whole * places / deep,
        "layer pairs": whole * shape.heads * pairs / deep**2,
        "layer mask": whole * masked,
        "layer apart": whole * places * shape.width if micro.apart else 0,
        "layer square": shape.layers * length * length,
        "layer distances": shape.layers * shape.heads * places * 2 * shape.buckets,
        "layer state": shape.layers * shape.width,
        "layer weights": shape.layers * block_weights(shape),
        "last width": last * places * shape.width,
        "last place": last * places,
        "last pairs": last * shape.heads * pairs,
        "last mask": last * masked,
        "last inner": last * micro.rows * predicted * shape.inner,
        "width": places * shape.width,
        "inner": places * shape.inner if deep > 1 else 0,
        "place": places,
        "pairs": shape.heads * pairs if shape.family in ("canine", "mpnet") else 0,
        "near": shape.heads * places * min(length, CHUNK) if deep > 1 else 0,
        "mask": masked,
        "square": length * length,
        "bias": shape.heads * length * length if shape.family == "mpnet" else 0,
        "predicted": micro.rows * predicted * shape.width,
        "asked": micro.rows * predicted,
        "ordered inner": ordered * shape.inner,
        "ordered pairs": ordered * shape.heads * 2 * predicted,
        "ordered classes": ordered * shape.classes,
        "square width": shape.width**2,
        "table": shape.classes * shape.width,
        "classes": shape.classes,
        "one": 1,
        "layers": shape.layers,
        "whole layers": whole,
    }
