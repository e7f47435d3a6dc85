"""The job as typed, frozen values: what `read_job` returns and what every other part takes pieces of.

The same names, types and choices as the JSON Schema files beside this one (tests/schemas/test_agreement.py holds the
two equal). Defaults stand in the schema files alone; nothing here has one.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from runjob.schemas.quantities import Quantity

# --- data -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HashSplit:
    """Shares by a hash of (seed, document): no document changes side when the corpus grows."""

    kind: Literal["hash"]
    validation: float
    test: float | None


@dataclass(frozen=True, kw_only=True)
class FirstSplit:
    """The first N kept documents are the validation side, the next ones the test side."""

    kind: Literal["first"]
    validation: int
    test: int | None


@dataclass(frozen=True, kw_only=True)
class FilesSplit:
    """Files for each side; those of `data.path` are the training side."""

    kind: Literal["files"]
    validation: tuple[str, ...]
    test: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class SubsetsSplit:
    """What a data set of the Hub itself calls validation and test; `data.subset` is the training side."""

    kind: Literal["subsets"]
    validation: str
    test: str | None


Split = HashSplit | FirstSplit | FilesSplit | SubsetsSplit


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizer:
    """A Hugging Face tokenizer: a directory, or a name on the Hub with an optional revision."""

    kind: Literal["pretrained"]
    path: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class TrainedTokenizer:
    """A byte-level BPE trained by the job on its own training documents."""

    kind: Literal["train"]
    algorithm: Literal["bpe"]
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class TrainedWordPiece:
    """The same with the WordPiece of BERT."""

    kind: Literal["train"]
    algorithm: Literal["wordpiece"]
    vocab_size: int
    lowercase: bool


Trained = TrainedTokenizer | TrainedWordPiece
Tokenizer = PretrainedTokenizer | Trained


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Regular expressions searched for in every document: without `keep`, or with `drop`, it is left out."""

    keep: str | None
    drop: str | None


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Plain text; `documents` says what one document is. `path` may be `sample:NAME`."""

    kind: Literal["text"]
    path: tuple[str, ...]
    documents: Literal["line", "paragraph", "file"]
    bad_rows: float
    min_length: int
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


@dataclass(frozen=True, kw_only=True)
class JsonlData:
    """One JSON object a line; the document is its `field`."""

    kind: Literal["jsonl"]
    path: tuple[str, ...]
    field: str
    bad_rows: float
    min_length: int
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


@dataclass(frozen=True, kw_only=True)
class ParquetData:
    """Parquet files; the document is the column `field`."""

    kind: Literal["parquet"]
    path: tuple[str, ...]
    field: str
    bad_rows: float
    min_length: int
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


@dataclass(frozen=True, kw_only=True)
class HubData:
    """A data set of the Hugging Face Hub, or a local directory in Hub layout."""

    kind: Literal["hub"]
    path: str
    config: str | None
    revision: str | None
    subset: str
    streaming: bool
    block_documents: int
    disk_budget: str
    field: str
    bad_rows: float
    min_length: int
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


# One source of documents, for itself or as each one of a mixture is read
SingleData = TextData | JsonlData | ParquetData | HubData


@dataclass(frozen=True, kw_only=True)
class MixedText:
    """Plain text as one source of a mixture; the next three are the other kinds as such."""

    kind: Literal["text"]
    weight: float
    path: tuple[str, ...]
    documents: Literal["line", "paragraph", "file"]


@dataclass(frozen=True, kw_only=True)
class MixedJsonl:
    kind: Literal["jsonl"]
    weight: float
    path: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class MixedParquet:
    kind: Literal["parquet"]
    weight: float
    path: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class MixedHub:
    kind: Literal["hub"]
    weight: float
    path: str
    config: str | None
    revision: str | None
    subset: str
    field: str


MixedSource = MixedText | MixedJsonl | MixedParquet | MixedHub


@dataclass(frozen=True, kw_only=True)
class MixData:
    """Several sources, drawn by weight; all but `sources` holds for each of them."""

    kind: Literal["mix"]
    sources: tuple[MixedSource, ...]
    bad_rows: float
    min_length: int
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


Data = TextData | JsonlData | ParquetData | HubData | MixData


def streamed(data: Data) -> TypeGuard[HubData]:
    """Is it read while training, instead of before?"""
    return isinstance(data, HubData) and data.streaming


# --- model and objective ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ScratchGpt2:
    """A new GPT-2 of these sizes; the vocabulary is the tokenizer's."""

    kind: Literal["scratch"]
    architecture: Literal["gpt2"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class ScratchBert:
    kind: Literal["scratch"]
    architecture: Literal["bert"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class ScratchModernBert:
    kind: Literal["scratch"]
    architecture: Literal["modernbert"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float
    global_attn_every_n_layers: int
    local_attention: int


@dataclass(frozen=True, kw_only=True)
class ScratchDebertaV2:
    kind: Literal["scratch"]
    architecture: Literal["deberta_v2"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float
    position_buckets: int


@dataclass(frozen=True, kw_only=True)
class ScratchMPNet:
    kind: Literal["scratch"]
    architecture: Literal["mpnet"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int | None
    max_position_embeddings: int
    dropout: float


ScratchInit = ScratchGpt2 | ScratchBert | ScratchModernBert | ScratchDebertaV2 | ScratchMPNet


@dataclass(frozen=True, kw_only=True)
class PretrainedInit:
    """Weights of a directory or of a Hub name."""

    kind: Literal["pretrained"]
    path: str
    revision: str | None


Init = ScratchInit | PretrainedInit


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
    """Hidden units (tokens, or words with all their pieces) predicted from all around them."""

    kind: Literal["mlm"]
    unit: Literal["token", "word"]
    probability: float
    replace: Replace
    span: Span | None


Objective = CausalLM | MaskedLM

# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    kind: Literal["constant"]
    warmup: Quantity


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    kind: Literal["linear"]
    warmup: Quantity
    final: float


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    kind: Literal["cosine"]
    warmup: Quantity
    final: float


@dataclass(frozen=True, kw_only=True)
class PolynomialSchedule:
    kind: Literal["polynomial"]
    warmup: Quantity
    final: float
    power: float


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Hold the peak, then fall linearly to `final` over the last `decay` of the run."""

    kind: Literal["warmup_stable_decay"]
    warmup: Quantity
    final: float
    decay: Quantity


Schedule = ConstantSchedule | LinearSchedule | CosineSchedule | PolynomialSchedule | WarmupStableDecay


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW; biases and norms (every tensor of one dimension) are never decayed."""

    kind: Literal["adamw"]
    betas: tuple[float, float]
    eps: float
    weight_decay: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    every: Quantity
    keep: int | Literal["all"]


@dataclass(frozen=True, kw_only=True)
class Training:
    length: Quantity
    stop_after: Quantity | None
    global_batch: int
    micro_batch: int | None
    micro_tokens: int | None
    learning_rate: float
    schedule: Schedule
    optimizer: AdamW
    gradient_clipping: float | None
    precision: Literal["fp32", "bf16", "bf16_params", "fp16"]
    gradient_checkpointing: bool
    compile: bool
    log_every: Quantity
    checkpoint: Checkpoint


# --- evaluation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when `metric` has not fallen by more than `min_delta` for `patience`."""

    metric: Literal["loss", "perplexity", "bits_per_byte", "masked_bits_per_byte"]
    patience: Quantity
    min_delta: float


@dataclass(frozen=True, kw_only=True)
class Generation:
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    every: Quantity
    at_start: bool
    micro_batch: int | None
    best: Literal["loss", "perplexity", "bits_per_byte", "masked_bits_per_byte"] | None
    early_stopping: EarlyStopping | None
    baseline: Literal["interpolated_bigram"] | None
    prompts: tuple[str, ...]
    generation: Generation


# --- hardware, tracking, output ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Offload:
    optimizer: Literal["none", "cpu"]
    parameters: Literal["none", "cpu"]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    device: Literal["cpu", "cuda", "mps"]
    gpus: int | Literal["all"] | None
    ranks: int | None
    threads: int | None
    nodes: int
    memory: str | None
    time: str | None
    zero: Literal[0, 1, 2, 3]
    offload: Offload
    deepspeed: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tracking:
    tensorboard: bool


@dataclass(frozen=True, kw_only=True)
class Output:
    """What stands in the model card besides the run's own facts."""

    license: str | None
    language: str | None
    description: str | None


@dataclass(frozen=True, kw_only=True)
class Job:
    schema: Literal[1]
    name: str
    seed: int
    data: Data
    model: Model
    objective: Objective
    training: Training
    evaluation: Evaluation
    hardware: Hardware
    tracking: Tracking
    output: Output
