"""Which class of transformers a model directory or a configuration stands for, and how it is read: in fp32, from
safetensors only, without code of its repository unless the job trusts it, with an account of every tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

# transformers has no masked model of CANINE, and one for rows that answers by the padding beside them; importing ours
# puts them behind its AutoModelFor...
from runjob.runner.worker.models import canine as canine
from runjob.runner.worker.models import canine_classes as canine_classes
from runjob.runner.worker.models.body import AutoBody
from runjob.runner.worker.models.canine_ordered import AutoModelForOrderedCharacters, CanineForOrderedCharacters
from runjob.runner.worker.models.configs import name_labels
from runjob.schemas.errors import JobError

Task = Literal[
    "clm",
    "mlm",
    "char_ar",
    "plm",
    "token_classification",
    "relation_classification",
    "sequence_classification",
    "sentence_embedding",
]
AUTO: dict[Task, Any] = {
    "clm": AutoModelForCausalLM,
    "mlm": AutoModelForMaskedLM,
    "char_ar": AutoModelForOrderedCharacters,
    "plm": AutoModelForMaskedLM,
    "token_classification": AutoModelForTokenClassification,
    "relation_classification": AutoModelForTokenClassification,  # of two tokens (models/pair_classes.py)
    "sequence_classification": AutoModelForSequenceClassification,
    "sentence_embedding": AutoBody,
}
# Their heads say labels, and are read off a configuration as such
OF_LABELS: tuple[Task, ...] = ("token_classification", "sequence_classification")
NAMES: dict[Task, str] = {
    "clm": "causal language model",
    "mlm": "masked language model",
    "char_ar": "model that reads characters",
    "plm": "masked language model",
    "token_classification": "model that classifies tokens",
    "relation_classification": "model that classifies tokens",
    "sequence_classification": "model that classifies texts",
    "sentence_embedding": "encoder",
}

# The public checkpoints of DeBERTa-v3 keep their head under other names than transformers' class, which computes the
# same (dense, activation, norm, the embeddings, a bias); unmapped, it would start at random.
DEBERTA_HEAD = {
    r"^lm_predictions\.lm_head\.dense\.": "cls.predictions.transform.dense.",
    r"^lm_predictions\.lm_head\.LayerNorm\.": "cls.predictions.transform.LayerNorm.",
    r"^lm_predictions\.lm_head\.bias$": "cls.predictions.bias",
}
# Bodies of encoders, which are what makes vectors of texts
BODIES = ("BertModel", "DebertaV2Model", "MPNetModel", "ModernBertModel", "RobertaModel")
# PyTorch's own fused attention: in every build, on CPU and GPU, exact. Named, not left to what transformers picks.
FUSED = "sdpa"
# The attention of the first two adds relative positions inside the softmax; transformers writes out all three.
WRITTEN_OUT = ("deberta-v2", "mpnet", "canine")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint that a job names, and the `field` of the job where it does. `trusted`: the job says that the code
    which its repository has at this commit may run."""

    field: str
    path: str
    revision: str | None
    trusted: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.path}"


def attention_of(config: PreTrainedConfig) -> str:
    return "eager" if config.model_type in WRITTEN_OUT else FUSED


def task_of(config: PreTrainedConfig) -> Task:
    """What a trained model's configuration says it was trained for."""
    architectures = config.architectures or []
    if CanineForOrderedCharacters.__name__ in architectures:
        return "char_ar"
    if any(name.endswith("ForTokenClassification") for name in architectures):
        return "token_classification"
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return "sequence_classification"
    if any(name in BODIES for name in architectures):
        return "sentence_embedding"
    return "mlm" if any(name.endswith("ForMaskedLM") for name in architectures) else "clm"


def refuse_labels(model: Path, config: PreTrainedConfig) -> None:
    """JobError for a model that says no text; `model` as its user calls it."""
    if (task := task_of(config)) in OF_LABELS:
        what = "tokens" if task == "token_classification" else "texts"
        raise JobError(
            f"{model}: this model says of which kind {what} are, and writes no text; its README.md says how it is asked"
        )
    if task_of(config) == "sentence_embedding":
        raise JobError(
            f"{model}: this model makes vectors of texts, and writes none; its README.md says how it is asked"
        )


def runs_its_own_code(network: PreTrainedModel) -> bool:
    """Was its class defined by the code of a repository?"""
    return type(network).__module__.startswith(f"{TRANSFORMERS_DYNAMIC_MODULE_NAME}.")


def refuse_code(path: str | Path, config: Mapping[str, Any]) -> None:
    """ValueError, by what config.json says, of code for a family that transformers has, and of code that would come
    from another repository than the one whose commit the job names."""
    family = config.get("model_type")
    if family in CONFIG_MAPPING:
        raise ValueError(f"its model_type is {family}, which transformers computes itself: delete trust_remote_code")
    foreign = sorted(str(one) for one in config.get("auto_map", {}).values() if "--" in str(one))
    if foreign:
        raise ValueError(f"its code is that of another repository, at no commit that {path} names: {foreign[0]}")


def read_config(path: str | Path, *, revision: str, local: bool, trusted: bool) -> PreTrainedConfig:
    """Of a `trusted` repository what its code would be is looked at before any of it is imported."""
    if trusted:
        plain, _ = PreTrainedConfig.get_config_dict(path, revision=revision, local_files_only=local)
        refuse_code(path, plain)
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        path, revision=revision, trust_remote_code=trusted, code_revision=revision, local_files_only=local
    )
    return config


def refuse_other_labels(config: PreTrainedConfig, labels: Sequence[str]) -> None:
    """Weights of a head mean what its outputs are called, in their order."""
    theirs = [config.id2label[number] for number in sorted(config.id2label)]
    if task_of(config) in OF_LABELS and theirs != list(labels):
        raise ValueError(f"its head is of the labels {', '.join(theirs)}, and the job's of {', '.join(labels)}")


def load(
    path: str | Path,
    task: Task | None,
    *,
    revision: str = "main",
    local: bool = False,
    trusted: bool = False,
    labels: Sequence[str] = (),
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The network and transformers' account of the load; `task` None takes what the directory was trained for.
    `trusted`: code that lies there runs, as whoever asks; `labels` of a head that has some, ValueError where the
    checkpoint's own head is of others."""
    config = read_config(path, revision=revision, local=local, trusted=trusted)
    if labels:
        refuse_other_labels(config, labels)
        name_labels(config, labels)
    if config.model_type == "deberta-v2":
        config.legacy = True
    network, found = AUTO[task_of(config) if task is None else task].from_pretrained(
        path,
        config=config,
        revision=revision,
        dtype=torch.float32,
        attn_implementation=attention_of(config),
        use_safetensors=True,
        trust_remote_code=trusted,
        code_revision=revision,
        local_files_only=local,
        key_mapping=DEBERTA_HEAD if config.model_type == "deberta-v2" else None,
        ignore_mismatched_sizes=True,  # the caller's to refuse, with names and shapes
        output_loading_info=True,
    )
    return network, found
