"""`runjob export --format sentence-transformers`: an encoder as the directory that the library of that name loads.

    config.json  model.safetensors  tokenizer files     the body alone: no head fills gaps of a sentence
    modules.json  1_Pooling/config.json                 its token vectors, and their mean over the tokens of the text
    2_Dense/config.json  2_Dense/model.safetensors      a layer behind it, where a wider or narrower teacher had taught
    sentence_bert_config.json                           how many tokens it reads

Names of modules and settings are those that its releases have read since 2.2. Of a masked model nothing was trained for
sentences: its vectors are a beginning for that, and neighbours among them mean as much as masked training taught. What
`objective: sentence_embedding` trained is such a directory already.
"""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from runjob.runner.worker.export import WEIGHTS, copy_model, load_network, probe_row, replace_directory, write_settings
from runjob.runner.worker.models.configs import positions_of
from runjob.runner.worker.models.loading import OF_LABELS, attention_of, task_of
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job import Job
from runjob.schemas.job_model import SentenceEmbedding

POOLING, DENSE = "1_Pooling", "2_Dense"
MODULES = "modules.json"
LIBRARY = "sentence_transformers.models"
IDENTITY = "torch.nn.modules.linear.Identity"


def export_sentences(model: Path, to: Path) -> int:
    """Write the directory, read it back, compare; how many numbers a sentence becomes."""
    network = load_network(model)
    config = network.config
    if (task := task_of(config)) in OF_LABELS:
        what = "tokens" if task == "token_classification" else "texts"
        raise JobError(
            f"--format sentence-transformers: {model} classifies {what}; export the run of its backbone, or hf"
        )
    if task == "sentence_embedding" and not (model / MODULES).is_file():
        raise JobError(
            f"--format sentence-transformers: {model} is the body of an encoder without {MODULES}, so nobody knows how "
            "its tokens become a vector; export the run that trained it"
        )
    if task == "sentence_embedding":
        copy_model(model, to)
        return int(config.hidden_size)
    if task != "mlm" or config.model_type == "canine":
        raise JobError(
            f"--format sentence-transformers: {model} is of the family {config.model_type}; sentences are read by "
            "encoders of tokens (bert, modernbert, deberta_v2, mpnet, roberta); write hf"
        )
    body = network.base_model

    def write(directory: Path) -> None:
        names = (WEIGHTS, "config.json")
        shutil.copytree(model, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*names))
        plain = copy.deepcopy(config)
        plain.architectures = [type(body).__name__]
        plain.save_pretrained(directory)
        tensors = {name: value.detach().contiguous() for name, value in body.named_parameters()}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
        write_settings(directory, settings_of(config.hidden_size, positions_of(config)))

    def verify(directory: Path) -> None:
        _compare(body, directory)

    replace_directory(to, write, verify)
    return int(config.hidden_size)


def settings_of_job(job: Job, config: PreTrainedConfig, dense: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The same of a model that was trained for it, as it was trained; nothing for all others. `dense`: the layer behind
    its vectors (models/dense.py)."""
    if not isinstance(job.objective, SentenceEmbedding):
        return {}
    numbers = len(dense["bias"]) if dense else None
    return settings_of(config.hidden_size, job.data.sequence_length, pooling=job.objective.pooling, numbers=numbers)


def modules_of(dense: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Directory -> tensors, as sentence-transformers calls them."""
    return {DENSE: {f"linear.{name}": value for name, value in dense.items()}} if dense else {}


def settings_of(
    width: int, longest: int | None, *, pooling: str = "mean", numbers: int | None = None
) -> dict[str, Any]:
    """File -> content, besides what transformers reads. `numbers` of a vector, where a layer makes more or fewer of
    them than `width`."""
    modules = [("", "Transformer"), (POOLING, "Pooling"), *([(DENSE, "Dense")] if numbers is not None else [])]
    behind = {"in_features": width, "out_features": numbers, "bias": True, "activation_function": IDENTITY}
    return {
        **({f"{DENSE}/config.json": behind} if numbers is not None else {}),
        MODULES: [
            {"idx": number, "name": str(number), "path": path, "type": f"{LIBRARY}.{name}"}
            for number, (path, name) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        f"{POOLING}/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None},
    }


def _compare(body: PreTrainedModel, directory: Path) -> None:
    """CheckpointError unless the body in `directory` gives the same vectors; a pooler that some families have besides
    is asked by nobody, and may be missing."""
    loaded, found = AutoModel.from_pretrained(
        directory,
        dtype=torch.float32,
        attn_implementation=attention_of(body.config),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise CheckpointError(f"{directory}: {WEIGHTS} lacks {', '.join(missing[:5])}")
    row = probe_row(body.config)
    with torch.inference_mode():
        expected, here = body(row).last_hidden_state, loaded.eval()(row).last_hidden_state
    if not torch.equal(expected, here):
        difference = (expected - here).abs().max().item()
        raise CheckpointError(f"{directory}: the body read back gives other vectors (up to {difference:.3g})")
