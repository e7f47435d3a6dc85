"""A finished model as a directory that transformers loads: weights, configuration, tokenizer, settings, card.

    TARGET beside:  config.json  model.safetensors  generation_config.json  README.md  tokenizer files  SHA256SUMS
    verify:         load it again, compare its answers with those of the network that was exported, bit for bit
    rename:         only then does it become TARGET

The same weights and settings give the same bytes. What `runjob export` hands out (export_run.py, export_onnx.py) is
written in the same careful way.
"""

import contextlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoTokenizer, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save

from runjob.runner.worker.faults import fault_point
from runjob.runner.worker.models.configs import ids_in, positions_of
from runjob.runner.worker.models.loading import AUTO, attention_of, load, runs_its_own_code, task_of
from runjob.schemas.errors import CheckpointError, RunjobError
from runjob.schemas.job import Generation
from runjob.schemas.job_json import read_job_json
from runjob.schemas.job_model import PretrainedInit
from runjob.schemas.json_object import read_object
from runjob.schemas.run import RunDir, sync_path
from runjob.schemas.sums import refuse_damaged, write_sums

WEIGHTS = "model.safetensors"
# Longest row that the comparison reads: enough to pass every layer and many positions, a moment even for 774 M.
PROBE = 64
# Where torch's own memory for a tensor begins, in bytes
ALIGNED = 64


def export_model(
    weights: Mapping[str, torch.Tensor],
    config: PreTrainedConfig,
    *,
    tokenizer: Path,
    target: Path,
    card: str,
    generation: Generation,
    beside: Mapping[str, Any] = MappingProxyType({}),
    modules: Mapping[str, Mapping[str, torch.Tensor]] = MappingProxyType({}),
) -> None:
    """Write `weights` (fp32 by transformers' parameter name, tied ones once) and all that belongs to them to `target`,
    in place of what stood there; CheckpointError if the written model does not answer as these weights do. `beside`:
    further JSON files by their name; `modules`: further tensors, by the name of the directory that they lie in."""
    network = _network(weights, config)

    def write(directory: Path) -> None:
        shutil.copytree(tokenizer, directory, dirs_exist_ok=True)
        _name_inputs(network, directory)
        if runs_its_own_code(network):
            custom_object_save(network, directory, config=network.config)  # the code, and in the configuration its name
        network.config.save_pretrained(directory)
        tensors = {name: value.detach().contiguous() for name, value in network.named_parameters()}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
        if task_of(network.config) == "clm":
            generation_config(generation, tokenizer, network.config).save_pretrained(directory)
        write_settings(directory, beside)
        for name, further in modules.items():
            save_file({key: value.contiguous() for key, value in further.items()}, directory / name / WEIGHTS)
        (directory / "README.md").write_text(card, encoding="utf-8")

    def verify(directory: Path) -> None:
        _compare(network, directory)

    replace_directory(target, write, verify)


def write_settings(directory: Path, contents: Mapping[str, Any]) -> None:
    """JSON files by their name in a model directory."""
    for name, content in contents.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def copy_model(source: Path, target: Path) -> None:
    """A copy of a model directory at `target`, which must hold the same answers before it gets that name."""
    original = load_network(source)

    def write(directory: Path) -> None:
        shutil.copytree(source, directory, dirs_exist_ok=True)

    def verify(directory: Path) -> None:
        _compare(original, directory)

    replace_directory(target, write, verify)


def load_network(directory: Path, *, trusted: bool = False) -> PreTrainedModel:
    """The network of a model directory, in fp32 on the CPU, ready to answer. `trusted`: with the code that lies in it;
    that of a run's own model/ is if its job says so."""
    refuse_damaged(directory)
    try:
        network, found = load(directory, None, local=True, trusted=trusted or job_trusts_code(directory))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{directory}: can't be read as a model of transformers: {error}") from error
    wrong = sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])})
    if wrong:
        raise CheckpointError(f"{directory}: {WEIGHTS} lacks {', '.join(wrong[:5])} ({len(wrong)} tensors in all)")
    return network.eval()


def job_trusts_code(directory: Path) -> bool:
    """Is this a model with code of its own, in a run whose job trusts the code of what it began with? A job that can't
    be read trusts none."""
    run = RunDir(directory.parent)
    if "auto_map" not in read_object(directory / "config.json") or not run.job.exists():
        return False
    try:
        init = read_job_json(run.job).job.model.init
    except RunjobError:
        return False
    return isinstance(init, PretrainedInit) and init.trust_remote_code


def generation_config(generation: Generation, tokenizer: Path, config: PreTrainedConfig) -> GenerationConfig:
    """What `model.generate` does by default: the job's settings; padding is the tokenizer's own where it has one."""
    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    common = {
        "max_new_tokens": generation.max_new_tokens,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        # Only fills rows that have ended, in the output; without one transformers warns and takes EOS itself.
        "pad_token_id": loaded.pad_token_id if loaded.pad_token_id is not None else config.eos_token_id,
    }
    if generation.temperature == 0:
        return GenerationConfig(do_sample=False, **common)
    return GenerationConfig(
        do_sample=True,
        temperature=generation.temperature,
        top_k=generation.top_k,
        top_p=generation.top_p,
        **common,
    )


def _network(weights: Mapping[str, torch.Tensor], config: PreTrainedConfig) -> PreTrainedModel:
    """The network whose parameters are exactly `weights`."""
    network = AUTO[task_of(config)].from_config(config, dtype=torch.float32, attn_implementation=attention_of(config))
    places = dict(network.named_parameters())
    wrong = sorted(places.keys() ^ weights.keys())
    wrong += sorted(n for n in places.keys() & weights.keys() if places[n].shape != weights[n].shape)
    wrong += sorted(n for n in places.keys() & weights.keys() if weights[n].dtype != torch.float32)
    if wrong:
        raise CheckpointError(
            f"the weights do not fit the network's configuration: {', '.join(wrong[:5])} "
            f"({len(wrong)} of {len(places)} tensors missing, of another shape, or not fp32)"
        )
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(weights[name])
    network.config.architectures = [type(network).__name__]
    return network.eval()


def _name_inputs(network: PreTrainedModel, directory: Path) -> None:
    """A tokenizer gives `token_type_ids` unless it is told not to, and networks without segments refuse them."""
    file = directory / "tokenizer_config.json"
    if "token_type_ids" in inspect.signature(type(network).forward).parameters or not file.exists():
        return
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compare(network: PreTrainedModel, directory: Path) -> None:
    """CheckpointError unless the model in `directory` answers a fixed row exactly as `network` does."""
    loaded = load_network(directory, trusted=runs_its_own_code(network))  # it runs already, and was written here
    row = probe_row(network.config)
    align(network)
    align(loaded)
    with torch.inference_mode():
        expected, found = network(row)[0], loaded(row)[0]  # logits, or of a body its last layer
    if not torch.equal(expected, found):
        difference = (expected - found).abs().max().item()
        raise CheckpointError(f"{directory}: the model read back answers differently (up to {difference:.3g})")


def align(network: PreTrainedModel) -> None:
    """Move what lies in a file's pages to memory of torch's own. Where tensors begin decides how a product of one row
    is summed up: the same weights answered differently in the last bits, in 60 of 120 networks with a head for a row
    that were read back, and in none when both were aligned (docs/journal.md, 2026-11-22)."""
    for parameter in network.parameters():
        if parameter.data_ptr() % ALIGNED:
            parameter.data = parameter.data.clone()


def probe_row(config: PreTrainedConfig) -> torch.Tensor:
    """A fixed walk through the whole vocabulary; 7919 is prime, so neighbours differ for any vocabulary."""
    length = min(PROBE, positions_of(config) or PROBE)
    return (torch.arange(length) * 7919 % ids_in(config))[None]


def replace_directory(target: Path, write: Callable[[Path], None], verify: Callable[[Path], None]) -> None:
    """Write a directory beside `target`, verify it there, then put it in `target`'s place; a failure leaves nothing."""
    beside, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)  # of an export that was killed
    beside.mkdir()
    with contextlib.ExitStack() as failed:
        failed.callback(shutil.rmtree, beside, ignore_errors=True)
        write(beside)
        write_sums(beside)
        _sync(beside)
        verify(beside)
        failed.pop_all()
    fault_point("export-written", step=0)
    if target.exists():
        target.rename(old)
    fault_point("export-moved", step=0)
    beside.rename(target)
    sync_path(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_path(directory)
