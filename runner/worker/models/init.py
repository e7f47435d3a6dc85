"""The network that a job describes, with its first weights, and an account of where each tensor came from.

A scratch network is drawn from one seed on the CPU in fp32, so every rank of every run of the job starts from the same
bytes. A pretrained one is read from safetensors only, runs no code of its repository unless the job trusts a commit of
it, and must bring every tensor: what it lacks would start at random, which is refused unless the job admits it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from runjob.data.characters import reads_characters
from runjob.data.samples import locate_model
from runjob.data.store import TokenizerSummary
from runjob.runner.worker.models.configs import name_labels, new_config, positions_of, refuse_padding
from runjob.runner.worker.models.dense import add_dense
from runjob.runner.worker.models.extend import Extended, extend_network
from runjob.runner.worker.models.loading import AUTO, NAMES, Source, Task, attention_of, load
from runjob.runner.worker.models.student import Made, Tensor, make_student, refuse_teacher
from runjob.schemas.errors import CheckpointError, JobError, MissingError
from runjob.schemas.job_model import (
    GuideInit,
    Model,
    PretrainedInit,
    RunInit,
    ScratchInit,
    ScratchMPNet,
    StudentInit,
    TileInit,
)
from runjob.schemas.tokenizer_files import rows_problem
from runjob.schemas.weights import weights_sha256


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Whose vectors a run learns: `sha256` of the teacher's weights, its `parameters`, the `numbers` of a vector."""

    teacher: str
    sha256: str
    parameters: int
    numbers: int


@dataclass(frozen=True, kw_only=True)
class InitReport:
    """Every tensor of the network once: loaded, made of a teacher's (`student`) or new (all would be trained), tied to
    another, and what the checkpoint held beyond them. `extended`: rows of loaded tensors that are new tokens'; `taught`
    where another network's vectors are learnt."""

    loaded: tuple[Tensor, ...]
    new: tuple[Tensor, ...]
    tied: tuple[Tensor, ...]
    unexpected: tuple[str, ...]
    attention: str
    extended: Extended | None = None
    student: Made | None = None
    taught: Taught | None = None

    @property
    def parameters(self) -> int:
        made = () if self.student is None else self.student.tensors
        return sum(tensor.count for tensor in (*self.loaded, *self.new, *made))

    def to_event(self) -> dict[str, Any]:
        """What the `init` event says: names where a reader would look (new tensors of a loaded network, unexpected
        ones), numbers elsewhere."""
        named = self.new if self.loaded or self.student is not None else ()
        return {
            "parameters": self.parameters,
            "loaded": {"tensors": len(self.loaded), "parameters": sum(t.count for t in self.loaded)},
            "new": {"tensors": len(self.new), "parameters": sum(t.count for t in self.new)},
            "new_tensors": [asdict(tensor) for tensor in named],
            "tied": [tensor.name for tensor in self.tied],
            "unexpected": list(self.unexpected),
            "attention": self.attention,
            **({} if self.extended is None else {"extended": asdict(self.extended)}),
            **({} if self.student is None else self.student.to_event()),
            **({} if self.taught is None else {"taught": asdict(self.taught)}),
        }


def build_network(
    model: Model,
    task: Task,
    *,
    tokenizer: TokenizerSummary,
    seed: int,
    tokenizer_at: Path | None = None,
    filled_later: bool = False,
    labels: tuple[str, ...] = (),
) -> tuple[PreTrainedModel, InitReport]:
    """The job's network in fp32 on the CPU, and the report; torch's own generator is left as it was. `tokenizer_at`:
    where the tokenizer lies, which a checkpoint's own is compared with; None takes their ids for the same.
    `filled_later`: the run's own weights take the place of these, so no teacher is asked for, wherever it is by now;
    `labels`: what the outputs of a head of its own are called."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match model.init:
            case PretrainedInit() as init:
                trusted = init.trust_remote_code
                source = Source(field="model.init.path", path=init.path, revision=init.revision, trusted=trusted)
                return _pretrained(source, task, model.allow_new, tokenizer, tokenizer_at, labels)
            case RunInit() as init:
                refuse_other_weights(init)
                source = Source(field=f"model.init.id: {init.id}", path=init.path, revision=None)
                return _pretrained(source, task, model.allow_new, tokenizer, tokenizer_at, labels)
            case GuideInit() | TileInit() as init if not filled_later:
                return _student(init, task, tokenizer, tokenizer_at)
            case init:
                return _scratch(init, task, tokenizer, labels)


def build_teacher(source: Source, *, tokenizer: TokenizerSummary, tokenizer_at: Path) -> PreTrainedModel:
    """The body of a trained encoder, in fp32 on the CPU. JobError where it reads by another tokenizer than the job's:
    of tokens that it never saw it has nothing to teach."""
    with torch.random.fork_rng(devices=[]):
        network, report = _pretrained(source, "sentence_embedding", (), tokenizer, tokenizer_at)
    if report.extended is not None:
        raise JobError(
            f"data.tokenizer: {source} has no vectors for {report.extended.rows:,} tokens of the job's tokenizer; "
            f"a teacher reads by its own: {{kind: pretrained, path: {source.path}}}"
        )
    return network


def add_vector_layer(network: PreTrainedModel, report: InitReport, *, width: int, seed: int) -> InitReport:
    """The network with a layer for vectors of `width` numbers behind it, where it needs one (dense.py)."""
    before = {name for name, _ in network.named_parameters()}
    add_dense(network, width, seed=seed)
    new = tuple(Tensor.of(name, value) for name, value in network.named_parameters() if name not in before)
    return replace(report, new=(*report.new, *new))


def refuse_other_weights(init: RunInit) -> None:
    """CheckpointError where they are not those that the job was submitted with."""
    found = weights_sha256(Path(init.path))
    if found != init.revision:
        raise CheckpointError(
            f"{init.path}: holds other weights than those of {init.id} that this job was submitted with (their sha256 "
            f"is {found}, and was {init.revision}); submit a new job to start from these"
        )


def check_positions(network: PreTrainedModel, *, sequence_length: int) -> None:
    """JobError if the job's rows are longer than the network can read."""
    positions = positions_of(network.config)
    if positions is not None and sequence_length > positions:
        raise JobError(
            f"data.sequence_length: {sequence_length} tokens do not fit the network's {positions} positions; "
            f"try {positions}"
        )


def enable_gradient_checkpointing(network: PreTrainedModel) -> None:
    """Recompute each block in the backward pass. Non-reentrant: the only form that saves and restores the autocast
    state and works where no input asks for a gradient. JobError where transformers has none for the family."""
    if not network.supports_gradient_checkpointing:
        raise JobError(
            f"training.gradient_checkpointing: transformers can't do it for {network.config.model_type}; write false, "
            "and lower training.micro_batch if memory is short"
        )
    # transformers renamed the method in 5.2x and warns about the old name, which older ones alone have.
    new_name = getattr(network, "activation_checkpointing_enable", None)
    if new_name is not None:
        new_name(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _scratch(
    init: ScratchInit | StudentInit, task: Task, tokenizer: TokenizerSummary, labels: tuple[str, ...] = ()
) -> tuple[PreTrainedModel, InitReport]:
    config = new_config(init, tokenizer)
    if labels:
        name_labels(config, labels)
    network = AUTO[task].from_config(config, dtype=torch.float32, attn_implementation=attention_of(config))
    if isinstance(init, ScratchMPNet):
        _drop_activations(network, init.activation_dropout)
    return network, _report(network, missing={name for name, _ in network.named_parameters()}, unexpected=())


def _drop_activations(network: PreTrainedModel, probability: float) -> None:
    """A third dropout, which transformers' MPNet has no setting for; it holds no tensor, and a finished model none."""
    for layer in network.base_model.encoder.layer if probability else ():
        inner = layer.intermediate
        inner.intermediate_act_fn = nn.Sequential(inner.intermediate_act_fn, nn.Dropout(probability))


def _student(
    init: StudentInit, task: Task, tokenizer: TokenizerSummary, tokenizer_at: Path | None
) -> tuple[PreTrainedModel, InitReport]:
    """A new network, then what the teacher gives it; the teacher's own head may be missing."""
    network, fresh = _scratch(init, task, tokenizer)
    # in a generator of its own, so that the new tensors do not hang on what a teacher lacks
    with torch.random.fork_rng(devices=[]):
        source = Source(field="model.init.teacher", path=locate_model(init.teacher), revision=init.revision)
        refuse_teacher(init, source)
        teacher, found = _pretrained(source, task, ("head",), tokenizer, tokenizer_at)
    made = make_student(network, teacher, init, lacking={tensor.name for tensor in found.new})
    names = {tensor.name for tensor in made.tensors}
    new = tuple(tensor for tensor in fresh.new if tensor.name not in names)
    return network, replace(fresh, new=new, student=made, extended=found.extended)


def _pretrained(
    source: Source,
    task: Task,
    allow_new: tuple[str, ...],
    tokenizer: TokenizerSummary,
    tokenizer_at: Path | None,
    labels: tuple[str, ...] = (),
) -> tuple[PreTrainedModel, InitReport]:
    network, found = _load(source, task, labels)
    if found["mismatched_keys"]:
        shapes = "; ".join(
            f"{name}: {tuple(have)} instead of {tuple(want)}" for name, have, want in found["mismatched_keys"]
        )
        raise CheckpointError(f"{source}: tensors do not have its config's shapes: {shapes}")
    missing = set(found["missing_keys"])
    _refuse_new(network, missing, allow_new, source)
    if tokenizer_at is None or reads_characters(tokenizer):  # all of Unicode has rows, whoever wrote the checkpoint
        extended = None
    else:
        extended = extend_network(network, source, tokenizer_at)
    _refuse_tokenizer(network, tokenizer, source)
    report = _report(network, missing=missing, unexpected=sorted(found["unexpected_keys"]))
    return network, replace(report, extended=extended)


def _load(source: Source, task: Task, labels: tuple[str, ...]) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The network and transformers' account of the load, in fp32, from safetensors."""
    directory = Path(source.path)
    if directory.is_dir() and not (directory / "config.json").exists():
        raise MissingError(f"{source}: no config.json there; a model directory of transformers has one")
    try:
        return load(source.path, task, revision=source.revision or "main", trusted=source.trusted, labels=labels)
    except OSError as error:
        place = "that directory" if directory.is_dir() else "neither a directory here nor in the hub cache"
        raise MissingError(
            f"{source}: can't be loaded ({place}): it needs config.json and *.safetensors. "
            f"Put a local copy into a directory and name that, or fetch it once with network: "
            f"hf download {source.path}\n  {str(error).splitlines()[0]}"
        ) from error
    except ValueError as error:
        raise JobError(f"{source}: not a {NAMES[task]} of transformers: {error}") from error


def _refuse_new(network: PreTrainedModel, missing: set[str], allow_new: tuple[str, ...], source: Source) -> None:
    body = "" if network.base_model is network else f"{network.base_model_prefix}."
    # transformers keeps the layer between the first state and a head for rows in the body, and masked models have none
    head = {name for name in missing if not name.startswith(body) or (body and name.startswith(f"{body}pooler."))}
    refused = sorted(missing - head if "head" in allow_new else missing)
    if not refused:
        return
    shown = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
    only_head = set(refused) <= head
    advice = "admit it with model.allow_new: [head]" if only_head else "take a checkpoint that has them"
    raise CheckpointError(f"{source} lacks {shown}; they would start at random; {advice}")


def _refuse_tokenizer(network: PreTrainedModel, tokenizer: TokenizerSummary, source: Source) -> None:
    """Characters belong to CANINE, whose embeddings are hashed and take any; other ids must have their rows."""
    if network.config.model_type == "canine":
        if not reads_characters(tokenizer):
            raise JobError(f"data.tokenizer: {source.field} {source.path} reads characters; write {{kind: characters}}")
        return
    if network.config.model_type == "mpnet":
        refuse_padding(tokenizer, "data.tokenizer")
    rows = network.get_input_embeddings().weight.shape[0]
    if reads_characters(tokenizer):
        raise JobError(
            f"data.tokenizer: {source.field} {source.path} is of the family {network.config.model_type}, and "
            f"characters are read by canine alone; use that model's own tokenizer: {{kind: pretrained, path: "
            f"{source.path}}}"
        )
    if said := rows_problem(tokenizer.vocab_size, rows=rows, where=source.field, path=source.path):
        raise JobError(f"data.tokenizer: {said}")


def _report(network: PreTrainedModel, *, missing: set[str], unexpected: Iterable[str]) -> InitReport:
    # named_parameters gives a shared tensor once, under its first name; with duplicates, the other names are the ties.
    first = {name: Tensor.of(name, value) for name, value in network.named_parameters()}
    every = {name: Tensor.of(name, value) for name, value in network.named_parameters(remove_duplicate=False)}
    return InitReport(
        loaded=tuple(tensor for name, tensor in first.items() if name not in missing),
        new=tuple(tensor for name, tensor in first.items() if name in missing),
        tied=tuple(tensor for name, tensor in every.items() if name not in first),
        unexpected=tuple(unexpected),
        attention=network.config._attn_implementation,
    )
