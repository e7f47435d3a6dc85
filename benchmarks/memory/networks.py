"""A job of given sizes, and what the worker makes of it: module and micro batch."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import RobertaConfig, RobertaForMaskedLM

from runjob.data.store import TokenizerSummary
from runjob.runner.worker.kernels.families import install
from runjob.runner.worker.models.init import build_network, enable_gradient_checkpointing
from runjob.runner.worker.objective import open_module
from runjob.schemas.job import Job
from runjob.schemas.read import read_job

ROOT = Path(__file__).parents[2]
SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
SHARE = 0.15
MASKS = {"mask": 0.8, "random": 0.1, "keep": 0.1}
OBJECTIVES = {
    "clm": {"kind": "clm"},
    "mlm": {"kind": "mlm", "unit": "token", "probability": SHARE, "replace": MASKS},
    "plm": {"kind": "plm", "unit": "token", "probability": SHARE, "replace": MASKS},
    "char_ar": {"kind": "char_ar", "probability": SHARE},
    "char": {"kind": "mlm", "unit": "char", "probability": SHARE, "replace": MASKS},
}
OWN = {
    "canine": {"num_hash_functions": 4, "num_hash_buckets": 512},
    "deberta_v2": {"position_buckets": 16},
    "modernbert": {"global_attn_every_n_layers": 3, "local_attention": 64},
    "mpnet": {"vocabulary_multiple": 8},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes of a network and of a step; `mode` is a precision as a job says it, `gpu ` before it where operations are
    a GPU's, ` fused` behind it where they are the kernels'."""

    family: str
    objective: str
    mode: str
    width: int
    inner: int
    layers: int
    heads: int
    length: int
    rows: int
    classes: int = 256
    dropout: float = 0.1
    checkpointing: bool = False
    masked: bool = False
    apart: bool = False
    accumulation: int = 2
    zero: int = 0
    bucket: int = 500_000_000

    @property
    def precision(self) -> str:
        return self.mode.removeprefix("gpu ").removesuffix(" fused")


def job_of(case: Case, folder: Path) -> Job:
    """`folder` takes the checkpoint of a family that a job can't begin anew."""
    sizes = {
        "hidden_size": case.width,
        "num_hidden_layers": case.layers,
        "num_attention_heads": case.heads,
        "intermediate_size": case.inner,
        "max_position_embeddings": case.length + 8,
        "dropout": case.dropout,
    }
    own = dict(OWN.get(case.family, {}))
    if case.family == "canine":
        own["character_table"] = case.classes
    init: dict[str, object] = {"kind": "scratch", "architecture": case.family, **sizes, **own}
    if case.family == "roberta":
        init = {"kind": "pretrained", "path": str(_roberta(case, folder))}
    tokenizer: dict[str, object] = {"kind": "train", "algorithm": "wordpiece", "vocab_size": case.classes}
    tokenizer["marks"] = "mpnet" if case.family == "mpnet" else "bert"
    if case.family == "canine":
        tokenizer = {"kind": "characters"}
    sets = {
        "data.sequence_length": case.length,
        "data.tokenizer": tokenizer,
        "data.layout": "lines" if case.apart else "pack",
        "data.attention": "document" if case.masked else "row",
        "model.init": init,
        "objective": OBJECTIVES[case.objective],
        "training.global_batch": case.rows * case.accumulation,
        "training.micro_batch": case.rows,
        "training.precision": case.precision,
        "training.gradient_checkpointing": case.checkpointing,
        "training.kernels": "fused" if case.mode.endswith("fused") else "torch",
        "hardware.device": "cuda" if case.mode.startswith("gpu") else "cpu",
        "hardware.deepspeed": {"zero_optimization": {"reduce_bucket_size": case.bucket}},
        "hardware.zero": max(case.zero, int(case.precision == "bf16_params")),
        **({"hardware.gpus": 1} if case.mode.startswith("gpu") else {}),
    }
    return read_job(SMALLEST, [f"{path}={json.dumps(value)}" for path, value in sets.items()]).job


def _roberta(case: Case, folder: Path) -> Path:
    config = RobertaConfig(
        vocab_size=case.classes,
        hidden_size=case.width,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        intermediate_size=case.inner,
        max_position_embeddings=case.length + 8,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
        pad_token_id=1,
    )
    path = Path(tempfile.mkdtemp(dir=folder))
    RobertaForMaskedLM(config).save_pretrained(path)
    return path


def module_of(job: Job, case: Case) -> nn.Module:
    """As runner/worker/assemble.py makes it."""
    size = 1_114_112 if case.family == "canine" else case.classes
    words = TokenizerSummary(fingerprint="", vocab_size=size, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=4)
    network, _ = build_network(job.model, job.objective.kind, tokenizer=words, seed=1)
    if case.checkpointing and case.objective != "plm":
        enable_gradient_checkpointing(network)
    if case.mode.endswith("fused"):
        install(network)
    return open_module(job, network, words).train()


def micro_batch(case: Case) -> dict[str, torch.Tensor]:
    """Full rows, each of which hides the same share."""
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(5, min(case.classes, 250), (case.rows, case.length), generator=generator)
    tensors = {"input_ids": ids_BL, "labels": ids_BL.clone()}
    if case.objective != "clm":
        hidden = round(SHARE * case.length)
        places_BL = torch.rand(ids_BL.shape, generator=generator).argsort(1)
        tensors["labels"] = ids_BL.masked_fill(places_BL >= hidden, -100)
        if case.objective in {"plm", "char_ar"}:
            tensors["order"] = places_BL.where(places_BL < hidden, -1)
    if case.apart:
        tensors["attention_mask"] = torch.ones_like(ids_BL)
    if case.masked:
        tensors["position_ids"] = torch.arange(case.length).remainder(50).expand(case.rows, -1).contiguous()
    return tensors
