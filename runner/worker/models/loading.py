"""Which class of transformers a model directory or a configuration stands for, and how it is read: in fp32, from
safetensors only, without code of its repository, with an account of every tensor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
)

# transformers has no masked model of CANINE; importing ours makes it one of its AutoModelForMaskedLM
from runjob.runner.worker.models import canine as canine
from runjob.runner.worker.models.canine_ordered import AutoModelForOrderedCharacters, CanineForOrderedCharacters

Task = Literal["clm", "mlm", "char_ar", "plm"]
AUTO: dict[Task, Any] = {
    "clm": AutoModelForCausalLM,
    "mlm": AutoModelForMaskedLM,
    "char_ar": AutoModelForOrderedCharacters,
    "plm": AutoModelForMaskedLM,
}
NAMES: dict[Task, str] = {
    "clm": "causal language model",
    "mlm": "masked language model",
    "char_ar": "model that reads characters",
    "plm": "masked language model",
}

# The public checkpoints of DeBERTa-v3 keep their head under other names than transformers' class, which computes the
# same (dense, activation, norm, the embeddings, a bias); unmapped, it would start at random.
DEBERTA_HEAD = {
    r"^lm_predictions\.lm_head\.dense\.": "cls.predictions.transform.dense.",
    r"^lm_predictions\.lm_head\.LayerNorm\.": "cls.predictions.transform.LayerNorm.",
    r"^lm_predictions\.lm_head\.bias$": "cls.predictions.bias",
}
# PyTorch's own fused attention: in every build, on CPU and GPU, exact. Named, not left to what transformers picks.
FUSED = "sdpa"
# The attention of the first two adds relative positions inside the softmax; transformers writes out all three.
WRITTEN_OUT = ("deberta-v2", "mpnet", "canine")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint that a job names, and the `field` of the job where it does."""

    field: str
    path: str
    revision: str | None

    def __str__(self) -> str:
        return f"{self.field}: {self.path}"


def attention_of(config: PreTrainedConfig) -> str:
    return "eager" if config.model_type in WRITTEN_OUT else FUSED


def task_of(config: PreTrainedConfig) -> Task:
    """What a trained model's configuration says it was trained for."""
    architectures = config.architectures or []
    if CanineForOrderedCharacters.__name__ in architectures:
        return "char_ar"
    return "mlm" if any(name.endswith("ForMaskedLM") for name in architectures) else "clm"


def load(
    path: str | Path, task: Task | None, *, revision: str = "main", local: bool = False
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The network and transformers' account of the load; `task` None takes what the directory was trained for."""
    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False, local_files_only=local)
    if config.model_type == "deberta-v2":
        config.legacy = True
    network, found = AUTO[task_of(config) if task is None else task].from_pretrained(
        path,
        config=config,
        revision=revision,
        dtype=torch.float32,
        attn_implementation=attention_of(config),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=local,
        key_mapping=DEBERTA_HEAD if config.model_type == "deberta-v2" else None,
        ignore_mismatched_sizes=True,  # the caller's to refuse, with names and shapes
        output_loading_info=True,
    )
    return network, found
