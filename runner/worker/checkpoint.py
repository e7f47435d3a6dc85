"""Checkpoints of our own: `checkpoints/step-NNNNNNNN/` holds fp32 weights and both Adam moments as safetensors by
parameter name, state.json, and manifest.json, which is written last and makes the rest count. No pickle, nothing of
ranks or ZeRO stage.

    weights-00001.safetensors  exp_avg-00001.safetensors  exp_avg_sq-00001.safetensors   (a new trio every 1 GiB)
    state.json     counters, best, patience, scaler, what the run was        manifest.json   sizes and sha256 of all

Written in a hidden folder beside, every file fsynced, then renamed, then LATEST moves. A folder without a good manifest
is no checkpoint: it is named and passed over.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from runjob.runner.worker.faults import fault_point
from runjob.runner.worker.optimizer_state import NamedState
from runjob.runner.worker.state import TrainingState
from runjob.schemas.errors import CheckpointError
from runjob.schemas.manifest import FORMAT, MANIFEST, best_of, damage, folder_name, folders_in, write_manifest
from runjob.schemas.run import RunDir, read_json, sync_path, write_atomic, write_json

KINDS = ("weights", "exp_avg", "exp_avg_sq")
SHARD_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk: its tensors by (kind, name), read one at a time."""

    path: Path
    step: int
    state: TrainingState
    identity: dict[str, Any]
    optimizer: dict[str, Any]
    index: dict[str, str]

    def read(self, kind: str, name: str) -> torch.Tensor:
        """One fp32 tensor; kind is `weight`, `exp_avg` or `exp_avg_sq`."""
        stem = "weights" if kind == "weight" else kind
        with safe_open(self.path / f"{stem}-{self.index[name]}.safetensors", framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name in self.index:
            yield name, self.read("weight", name)


class Writer:
    """Writes one checkpoint on rank 0 while all ranks feed it tensors in the same order."""

    def __init__(self, run: RunDir, step: int, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.run = run
        self.shard_bytes = shard_bytes
        self.step = step
        self.beside = beside(run, step)
        remove_half_written(run, step)
        self.beside.mkdir(mode=0o700)
        self.pending: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in KINDS}
        self.index: dict[str, str] = {}
        self.shards = 0
        self.bytes = 0

    def add(self, state: NamedState) -> None:
        for kind, tensor in zip(KINDS, (state.weight, state.exp_avg, state.exp_avg_sq), strict=True):
            assert tensor is not None, "rank 0 gathers every tensor"
            self.pending[kind][state.name] = tensor.contiguous()
            self.bytes += tensor.numel() * tensor.element_size()
        if self.bytes >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the pending tensors as the next trio of shards."""
        if not self.bytes:
            return
        self.shards += 1
        shard = f"{self.shards:05d}"
        for kind, tensors in self.pending.items():
            save_file(tensors, self.beside / f"{kind}-{shard}.safetensors")
            self.index.update(dict.fromkeys(tensors, shard))
            self.pending[kind] = {}
        self.bytes = 0

    def finish(self, state: TrainingState, *, identity: dict[str, Any], optimizer: dict[str, Any]) -> Path:
        """state.json, manifest last, rename, LATEST."""
        self.flush()
        record = {
            "format": FORMAT,
            "state": state.to_json(),
            "identity": identity,
            "optimizer": optimizer,
            "index": self.index,
        }
        write_json(self.beside / "state.json", record)
        fault_point("checkpoint-before-manifest", step=self.step)
        write_manifest(self.beside, self.step)
        fault_point("checkpoint-before-rename", step=self.step)
        final = self.run.checkpoints / folder_name(self.step)
        # A damaged checkpoint of this very step may stand there: resume passed it over, this one replaces it
        shutil.rmtree(final, ignore_errors=True)
        self.beside.rename(final)
        sync_path(self.run.checkpoints)
        fault_point("checkpoint-before-latest", step=self.step)
        write_atomic(self.run.latest, final.name + "\n")
        return final


def beside(run: RunDir, step: int) -> Path:
    """Where the files of a checkpoint lie until it is whole."""
    return run.checkpoints / f".{folder_name(step)}.tmp"


def remove_half_written(run: RunDir, step: int) -> None:
    shutil.rmtree(beside(run, step), ignore_errors=True)


def open_checkpoint(path: Path) -> Checkpoint:
    """A verified checkpoint, or CheckpointError that says what is wrong with it."""
    for problem in damage(path):
        raise CheckpointError(f"{path.name}: {problem}")
    record = read_json(path / "state.json")
    state = TrainingState.from_json(record["state"])
    return Checkpoint(
        path=path,
        step=state.step,
        state=state,
        identity=record["identity"],
        optimizer=record["optimizer"],
        index=record["index"],
    )


def newest_complete(run: RunDir, *, not_after: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The newest complete checkpoint, and one line for each newer folder that had to be passed over."""
    passed_over: list[str] = []
    for step, path in reversed(folders_in(run.checkpoints).items()):
        if not_after is not None and step > not_after:
            continue
        try:
            return open_checkpoint(path), passed_over
        except CheckpointError as error:
            passed_over.append(str(error))
    return None, passed_over


def prune(run: RunDir, *, keep: int, best: int | None) -> list[str]:
    """Remove all but the newest `keep` complete checkpoints and the best ones that these name, so that falling back to
    an older one still finds its best. Gives the names removed."""
    folders = folders_in(run.checkpoints)
    kept = list(reversed(folders))[:keep]
    wanted = {*kept, best, *(best_of(folders[step]) for step in kept)}
    removed = [path for step, path in folders.items() if step not in wanted]
    for path in removed:
        # manifest first: what is left of an interrupted removal is then no checkpoint
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
    return [path.name for path in removed]
