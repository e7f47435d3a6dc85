"""The job as typed, frozen values: what `read_job` returns and what every other part takes pieces of.

The same names, types and choices as the JSON Schema files beside this one (tests/schemas/test_agreement.py holds the
two equal). Defaults stand in the schema files alone; nothing here has one.
"""

from dataclasses import dataclass
from typing import Literal

from runjob.schemas.job_data import Data, JsonlData
from runjob.schemas.job_hardware import Hardware
from runjob.schemas.job_model import Model, Objective, SentenceEmbedding
from runjob.schemas.quantities import Quantity

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


BadStepAction = Literal["stop", "skip", "rewind"]


@dataclass(frozen=True, kw_only=True)
class Spike:
    """A loss more than `above` deviations over the median of the last `window` good ones."""

    action: BadStepAction
    above: float
    window: int


@dataclass(frozen=True, kw_only=True)
class OnBadStep:
    not_finite: BadStepAction
    spike: Spike | None
    skips_in_a_row: int
    rewinds: int
    rewind_skips: int
    overflows_in_a_row: int


@dataclass(frozen=True, kw_only=True)
class HungAfter:
    """No step for `factor` times the median step, and for no less than `at_least`; for `first` where nothing has been
    measured yet."""

    factor: float
    at_least: Quantity
    first: Quantity


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
    kernels: Literal["auto", "fused", "torch"]
    log_every: Quantity
    checkpoint: Checkpoint
    on_bad_step: OnBadStep
    hung_after: HungAfter | None


# --- evaluation -------------------------------------------------------------------------------------------------


Metric = Literal[
    "loss",
    "perplexity",
    "bits_per_byte",
    "masked_bits_per_byte",
    "rare_token_perplexity",
    "f1",
    "f1_macro",
    "accuracy",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "mrr",
    "ndcg_at_10",
]


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when `metric` has not got better by more than `min_delta` for `patience`."""

    metric: Metric
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
    best: Metric | None
    early_stopping: EarlyStopping | None
    baseline: Literal["interpolated_bigram", "character_bigram"] | None
    also_hide: tuple[float, ...]
    prompts: tuple[str, ...]
    generation: Generation


def watched_metrics(evaluation: Evaluation) -> dict[str, str]:
    """The metrics that a run goes by: path in the job -> name."""
    early = evaluation.early_stopping
    named = {"evaluation.best": evaluation.best}
    named["evaluation.early_stopping.metric"] = None if early is None else early.metric
    return {path: metric for path, metric in named.items() if metric is not None}


# --- tracking, output ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """The same numbers to Weights & Biases."""

    project: str
    entity: str | None
    mode: Literal["online", "offline"]
    name: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """The same numbers to MLflow."""

    uri: str
    experiment: str
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Steps `first` to `last`, both included, watched operator by operator."""

    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Tracking:
    tensorboard: bool
    wandb: Wandb | None
    mlflow: Mlflow | None
    profile: Profile | None


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where copies go, and what stands in the model card besides the run's own facts."""

    remote: str | None
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


def learns_from_pairs(job: Job) -> bool:
    """Do two texts of a row become vectors?"""
    return (
        isinstance(job.objective, SentenceEmbedding) and isinstance(job.data, JsonlData) and job.data.target is not None
    )


def texts_of(job: Job) -> int:
    """Texts of a row, each of `data.sequence_length` tokens at most."""
    return 2 if learns_from_pairs(job) else 1
