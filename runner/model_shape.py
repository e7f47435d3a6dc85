"""The sizes of a job's network that decide how much it computes: from the job where it says them, from the
configuration of a checkpoint that lies here or in the Hub's cache, and from a table of public ones that jobs name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runjob.data.samples import locate_model
from runjob.runner.estimate import vocabulary_size
from runjob.schemas.hub_copy import configuration_file
from runjob.schemas.job import Job
from runjob.schemas.job_model import (
    FinishedInit,
    GuideInit,
    PretrainedInit,
    ScratchCanine,
    ScratchDebertaV2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
    SentenceEmbedding,
    StudentInit,
    TileInit,
)
from runjob.schemas.json_object import read_object
from runjob.schemas.teacher import gated_size

# transformers' names of families whose layers are counted in runner/computation.py
FAMILIES = frozenset({"bert", "canine", "deberta-v2", "gpt2", "modernbert", "mpnet", "roberta"})
# The classes of a released CANINE's head (runner/worker/models/canine.py)
CANINE_CLASSES = 16_384
# Where configurations say their dropouts; what is not there is 0.1, and in ModernBERT 0
BERTS_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
DROPOUTS = {
    **dict.fromkeys(FAMILIES, BERTS_DROPOUTS),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "modernbert": ("attention_dropout", "embedding_dropout", "mlp_dropout"),
}
# Width, layers, inner width and heads in config.json, GPT-2's own names of them, and what a configuration may leave out
USUAL_NAMES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
OWN_NAMES = ("n_embd", "n_layer", "n_inner", "n_head")
GIVEN = {"character_table": CANINE_CLASSES, "position_buckets": -1}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`classes`: rows of the head; `buckets` of distance that DeBERTa's attention multiplies with, to either side;
    `drops`: there is dropout somewhere."""

    family: str
    width: int
    layers: int
    inner: int
    heads: int
    classes: int
    buckets: int
    drops: bool


# As released, so that a plan needs neither network nor copy
KNOWN_SHAPES = {
    "google/canine-c": Shape(
        family="canine", width=768, layers=12, inner=3072, heads=12, classes=CANINE_CLASSES, buckets=0, drops=True
    ),
    "google/canine-s": Shape(
        family="canine", width=768, layers=12, inner=3072, heads=12, classes=CANINE_CLASSES, buckets=0, drops=True
    ),
    "microsoft/deberta-v3-base": Shape(
        family="deberta-v2", width=768, layers=12, inner=3072, heads=12, classes=128_100, buckets=256, drops=True
    ),
}


def shape_of(job: Job) -> Shape | None:
    """None where neither the job nor a file here says the sizes, or nobody counts such layers."""
    init, tokens = job.model.init, vocabulary_size(job.data.tokenizer)
    if not isinstance(init, FinishedInit):
        return None if tokens is None else shape_of_scratch(init, tokens)
    known = KNOWN_SHAPES[init.path] if init.path in KNOWN_SHAPES else shape_of_files(init)
    if known is None or known.family == "canine" or tokens is None:
        return known
    return replace(known, classes=tokens)


def teaching_job(job: Job) -> Job | None:
    """The same job of the network whose vectors are learnt; None where nobody teaches."""
    objective = job.objective
    if not isinstance(objective, SentenceEmbedding) or objective.taught_by is None:
        return None
    path = locate_model(objective.taught_by)
    init = PretrainedInit(kind="pretrained", path=path, revision=objective.teacher_revision, trust_remote_code=False)
    return replace(job, model=replace(job.model, init=init))


def shape_of_scratch(init: ScratchInit | StudentInit, tokens: int) -> Shape:
    inner = init.intermediate_size if init.intermediate_size is not None else 4 * init.hidden_size
    family, classes, buckets = "modernbert", tokens, 0
    match init:
        case GuideInit() | TileInit() | ScratchModernBert():
            inner = gated_size(init)
        case ScratchCanine():
            family, classes = "canine", init.character_table
        case ScratchMPNet():
            family, classes = "mpnet", -(-tokens // init.vocabulary_multiple) * init.vocabulary_multiple
        case ScratchDebertaV2():
            family, buckets = "deberta-v2", init.position_buckets
        case _:
            family = init.architecture
    return Shape(
        family=family,
        width=init.hidden_size,
        layers=init.num_hidden_layers,
        inner=inner,
        heads=init.num_attention_heads,
        classes=classes,
        buckets=buckets,
        drops=drops_of(init),
    )


def drops_of(init: ScratchInit | StudentInit) -> bool:
    own = (init.attention_dropout, init.activation_dropout) if isinstance(init, ScratchMPNet) else ()
    return any((init.dropout, *own))


def shape_of_files(init: FinishedInit) -> Shape | None:
    """What is wrong with a file the worker says."""
    return shape_of_config(read_object(configuration_file(init)))


def shape_of_config(config: Mapping[str, Any]) -> Shape | None:
    """As config.json of transformers says it."""
    family = config.get("model_type")
    if family not in FAMILIES:
        return None
    given = {**GIVEN, **config}
    names = OWN_NAMES if family == "gpt2" else USUAL_NAMES
    classes = "character_table" if family == "canine" else "vocab_size"
    sizes = [given.get(name) for name in (names[0], names[1], names[3], classes)]
    width, layers, heads, rows = (size if isinstance(size, int) else 0 for size in sizes)
    if not (width and layers and heads and rows):
        return None
    return Shape(
        family=family,
        width=width,
        layers=layers,
        inner=given.get(names[2]) or 4 * width,
        heads=heads,
        classes=rows,
        buckets=max(given["position_buckets"], 0) if family == "deberta-v2" else 0,
        drops=any(given.get(name, family != "modernbert") for name in DROPOUTS[family]),
    )
