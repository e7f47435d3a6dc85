"""What a job says of its model and its objective, as typed, frozen values (see job.py)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """New weights of these sizes; the vocabulary is the tokenizer's."""

    kind: Literal["scratch"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class ScratchGpt2(Scratch):
    architecture: Literal["gpt2"]


@dataclass(frozen=True, kw_only=True)
class ScratchBert(Scratch):
    architecture: Literal["bert"]


@dataclass(frozen=True, kw_only=True)
class ScratchModernBert(Scratch):
    architecture: Literal["modernbert"]
    global_attn_every_n_layers: int
    local_attention: int


@dataclass(frozen=True, kw_only=True)
class ScratchDebertaV2(Scratch):
    architecture: Literal["deberta_v2"]
    position_buckets: int


@dataclass(frozen=True, kw_only=True)
class ScratchMPNet(Scratch):
    """`vocabulary_multiple`: the table of tokens is filled up to a multiple of it while training."""

    architecture: Literal["mpnet"]
    attention_dropout: float | None
    activation_dropout: float
    vocabulary_multiple: int


@dataclass(frozen=True, kw_only=True)
class ScratchCanine(Scratch):
    """Reads characters; `character_table`: code points below it have a class each."""

    architecture: Literal["canine"]
    num_hash_functions: int
    num_hash_buckets: int
    character_table: int


ScratchInit = ScratchGpt2 | ScratchBert | ScratchModernBert | ScratchDebertaV2 | ScratchMPNet | ScratchCanine


@dataclass(frozen=True, kw_only=True)
class FinishedInit:
    """Weights that somebody has trained before, in a directory or under a Hub name."""

    path: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class PretrainedInit(FinishedInit):
    kind: Literal["pretrained"]
    trust_remote_code: bool


@dataclass(frozen=True, kw_only=True)
class RunInit(FinishedInit):
    """Weights of an earlier run. Once it is submitted: `id` is whole, `path` the directory of its model, `revision` the
    sha256 of its weights (schemas/weights.py); before, `path` is `run:` and leads nowhere."""

    kind: Literal["run"]
    id: str


@dataclass(frozen=True, kw_only=True)
class Student:
    """A ModernBERT of these sizes, whose first weights are made of another one's."""

    teacher: str
    revision: str | None
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float
    global_attn_every_n_layers: int
    local_attention: int


@dataclass(frozen=True, kw_only=True)
class GuideInit(Student):
    """The teacher's embeddings and layers, projected to principal components."""

    kind: Literal["guide"]
    layers: Literal["first", "uniform"]
    embedding_scale: Literal["teacher", "fresh"]


@dataclass(frozen=True, kw_only=True)
class TileInit(Student):
    """The teacher's tensors, repeated around their middle, or cut out of it."""

    kind: Literal["tile"]


StudentInit = GuideInit | TileInit
Init = StudentInit | ScratchInit | PretrainedInit | RunInit


@dataclass(frozen=True, kw_only=True)
class Model:
    init: Init
    allow_new: tuple[Literal["head"], ...]


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    kind: Literal["clm"]


@dataclass(frozen=True, kw_only=True)
class Replace:
    """Shares of the predicted tokens; they add up to 1."""

    mask: float
    random: float
    keep: float


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lengths of hidden runs: geometric, cut at `longest`."""

    geometric: float
    longest: int


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Hidden units (tokens, words with all their pieces, characters) predicted from all around them."""

    kind: Literal["mlm"]
    unit: Literal["token", "word", "char"]
    probability: float
    replace: Replace
    span: Span | None


@dataclass(frozen=True, kw_only=True)
class CharAR:
    """Hidden characters, all of them masked, predicted one after another in a shuffled order."""

    kind: Literal["char_ar"]
    probability: float
    span: Span | None


@dataclass(frozen=True, kw_only=True)
class PermutedLM:
    """Hidden units predicted one token after another in a shuffled order, with masks at the places still to come."""

    kind: Literal["plm"]
    unit: Literal["word", "token"]
    probability: float
    replace: Replace


Scheme = Literal["BIO", "BILOU"]


@dataclass(frozen=True, kw_only=True)
class TokenClassification:
    """The tag of every token, of which spans of these labels are read; `labels` in the order of the head's outputs."""

    kind: Literal["token_classification"]
    labels: tuple[str, ...]
    scheme: Scheme
    class_weights: Literal["balanced"] | dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which pairs of spans are asked about: `types` as HEAD>TAIL, `max_distance` in characters; `no_relation` is the
    share of those without a relation that training keeps."""

    types: tuple[str, ...] | None
    max_distance: int | None
    no_relation: float


@dataclass(frozen=True, kw_only=True)
class RelationClassification:
    """How two spans are related; `labels` without NO_RELATION, which is the head's first output."""

    kind: Literal["relation_classification"]
    labels: tuple[str, ...]
    pairs: Pairs
    class_weights: Literal["balanced"] | dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class SequenceClassification:
    """Of which kind a document is; `labels` in the order of the head's outputs."""

    kind: Literal["sequence_classification"]
    labels: tuple[str, ...]
    class_weights: Literal["balanced"] | dict[str, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceEmbedding:
    """One vector for a text, learnt from pairs; `group` rows are each other's wrong answers. With `mse` it is learnt
    from a teacher's, of one text a row or two, and neither `temperature` nor `group` says anything."""

    kind: Literal["sentence_embedding"]
    loss: Literal["contrastive", "mse"]
    temperature: float
    pooling: Literal["mean", "cls"]
    group: int
    teacher: str | None
    teacher_revision: str | None
    teacher_pooling: Literal["mean", "cls"]

    @property
    def taught_by(self) -> str | None:
        """The teacher, where there is one."""
        return self.teacher if self.loss == "mse" else None


# What learns from labels beside the text
Classification = TokenClassification | RelationClassification | SequenceClassification
Objective = CausalLM | MaskedLM | CharAR | PermutedLM | Classification | SentenceEmbedding


def group_of(objective: Objective) -> int:
    """Rows that are computed together, whatever else is cut."""
    return objective.group if isinstance(objective, SentenceEmbedding) and objective.loss == "contrastive" else 1
