"""A checkpoint counts only when it is whole: every kind of damage is found, named and passed over."""

import json
from pathlib import Path

import pytest
import torch

from runjob.runner.worker.checkpoint import (
    SHARD_BYTES,
    Writer,
    newest_complete,
    open_checkpoint,
    prune,
)
from runjob.runner.worker.optimizer_state import NamedState
from runjob.runner.worker.start import find_start, refuse_foreign
from runjob.runner.worker.state import Best, Patience, TrainingState
from runjob.schemas.errors import CheckpointError
from runjob.schemas.manifest import folders_in
from runjob.schemas.run import RunDir, write_json

IDENTITY: dict[str, object] = {"data": "d1", "tokenizer": "t1"}
OPTIMIZER: dict[str, object] = {"adam_step": 3, "loss_scaler": None}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "some")


def tensors(step: int) -> list[NamedState]:
    generator = torch.Generator().manual_seed(step)
    return [
        NamedState(name, *(torch.randn(4, 3, generator=generator) for _ in range(3))) for name in ("a.weight", "b.bias")
    ]


def save(run: RunDir, step: int, *, best: Best | None = None, shard_bytes: int = SHARD_BYTES) -> Path:
    writer = Writer(run, step, shard_bytes=shard_bytes)
    for tensor in tensors(step):
        writer.add(tensor)
    return writer.finish(TrainingState(step=step, tokens=step * 10, best=best), identity=IDENTITY, optimizer=OPTIMIZER)


def test_what_is_written_is_read_back_to_the_bit(run: RunDir) -> None:
    opened = open_checkpoint(save(run, 7, best=Best(step=5, value=1.25)))
    assert opened.state == TrainingState(step=7, tokens=70, best=Best(step=5, value=1.25), patience=Patience())
    assert (opened.identity, opened.optimizer) == (IDENTITY, OPTIMIZER)
    for tensor in tensors(7):
        assert torch.equal(opened.read("weight", tensor.name), tensor.weight)
        assert torch.equal(opened.read("exp_avg", tensor.name), tensor.exp_avg)
        assert torch.equal(opened.read("exp_avg_sq", tensor.name), tensor.exp_avg_sq)
    assert run.latest.read_text() == "step-00000007\n"


def test_large_states_are_cut_into_shards_that_read_as_one(run: RunDir) -> None:
    opened = open_checkpoint(save(run, 7, shard_bytes=100))
    assert sorted(path.name for path in opened.path.glob("weights-*")) == [
        "weights-00001.safetensors",
        "weights-00002.safetensors",
    ]
    assert {name for name, _ in opened.weights()} == {"a.weight", "b.bias"}


def files_of_a_checkpoint() -> list[str]:
    kinds = ("weights", "exp_avg", "exp_avg_sq")
    return [*(f"{kind}-00001.safetensors" for kind in kinds), "state.json", "manifest.json"]


@pytest.mark.parametrize("name", files_of_a_checkpoint())
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_older_one_taken(run: RunDir, name: str, damage: str) -> None:
    save(run, 7)
    hurt(save(run, 14) / name, damage)
    found, passed_over = newest_complete(run)
    assert found is not None
    assert found.step == 7
    assert len(passed_over) == 1
    assert passed_over[0].startswith("step-00000014: ")
    assert name in passed_over[0] or "manifest" in passed_over[0]


def hurt(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            # one bit of a digit or of a weight; the text stays text
            position = len(content) - 20 if path.suffix == ".safetensors" else content.index(b'"') + 1
            content[position] ^= 1
            path.write_bytes(content)
        case "truncate":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "remove":
            path.unlink()


def test_a_folder_without_a_manifest_is_no_checkpoint(run: RunDir) -> None:
    save(run, 7)
    half = run.checkpoints / "step-00000014"
    half.mkdir()
    (half / "weights-00001.safetensors").write_bytes(b"abc")
    found, passed_over = newest_complete(run)
    assert found is not None
    assert found.step == 7
    assert "half-written" in passed_over[0]


def test_only_the_newest_and_the_best_are_kept(run: RunDir) -> None:
    for step in (5, 10, 15, 20):
        save(run, step)
    assert prune(run, keep=2, best=5) == ["step-00000010"]
    assert list(folders_in(run.checkpoints)) == [5, 15, 20]


def test_the_best_that_an_older_kept_checkpoint_names_is_kept_too(run: RunDir) -> None:
    save(run, 5)
    save(run, 10, best=Best(step=5, value=2.0))
    save(run, 15, best=Best(step=15, value=1.0))
    assert prune(run, keep=2, best=15) == []


def test_a_start_sets_newer_checkpoints_aside_and_tells_of_them(run: RunDir) -> None:
    save(run, 7)
    (save(run, 14) / "state.json").unlink()
    attempt = run.new_attempt()
    start = find_start(run, attempt)
    assert start.step == 7
    assert "state.json is missing" in start.passed_over[0]
    assert list(folders_in(run.checkpoints)) == [7]
    assert (attempt.path / "checkpoints" / "step-00000014").is_dir()


def test_a_start_from_a_named_step_leaves_later_history(run: RunDir) -> None:
    for step in (5, 10, 15):
        save(run, step, best=Best(step=5, value=1.0))
    attempt = run.new_attempt()
    write_json(attempt.path / "resume.json", {"from": "best", "after": "preempted"})
    assert find_start(run, attempt).step == 5
    assert list(folders_in(run.checkpoints)) == [5]


def test_latest_names_the_start_also_where_a_kill_fell_just_before_it_moved(run: RunDir) -> None:
    save(run, 7)
    older = run.latest.read_text()
    save(run, 14)
    run.latest.write_text(older)
    assert find_start(run, run.new_attempt()).step == 14
    assert run.latest.read_text() == "step-00000014\n"


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over_by_itself(run: RunDir) -> None:
    (save(run, 7) / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint of some-.* is complete"):
        find_start(run, run.new_attempt())


def test_a_run_without_checkpoints_starts_before_step_0(run: RunDir) -> None:
    start = find_start(run, run.new_attempt())
    assert (start.checkpoint, start.step) == (None, -1)


def test_a_checkpoint_of_another_tokenizer_is_refused_by_name(run: RunDir) -> None:
    opened = open_checkpoint(save(run, 7))
    with pytest.raises(CheckpointError, match="tokenizer: t1 in the checkpoint, t2 now; start a new job"):
        refuse_foreign(opened, IDENTITY | {"tokenizer": "t2"})
    with pytest.raises(CheckpointError, match=r"d2 now; put the files of data\.path back as they were then, or start"):
        refuse_foreign(opened, IDENTITY | {"data": "d2"})
    refuse_foreign(opened, IDENTITY)


def test_the_manifest_lists_every_other_file(run: RunDir) -> None:
    path = save(run, 7)
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["files"]) == {file.name for file in path.iterdir()} - {"manifest.json"}
    assert manifest["step"] == 7
