"""The exported directory: what transformers makes of it, the same bytes twice, and never a half or a wrong one."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from benchmarks.chaos.damage import DAMAGES
from runjob.runner.worker.export import export_model, load_network
from runjob.runner.worker.export_run import main
from runjob.runner.worker.models.loading import AUTO
from runjob.schemas.errors import CheckpointError
from runjob.schemas.job import Generation
from runjob.schemas.run import RunDir

Export = Callable[..., Path]


def _weights(network: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def _digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


@pytest.fixture
def export(tokenizer, tmp_path, build_small, generation) -> Export:
    def run(*, seed: int = 3, weights=None, generation=generation, target=tmp_path / "model") -> Path:
        network = build_small(seed=seed)
        weights = _weights(network) if weights is None else weights
        export_model(
            weights, network.config, tokenizer=tokenizer, target=target, card="# a card\n", generation=generation
        )
        return target

    return run


def test_transformers_loads_it_and_answers_equal_the_network_bit_for_bit(export, build_small):
    model = export()
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    row = AutoTokenizer.from_pretrained(model)("Kies een cel", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(loaded(row).logits, build_small()(row).logits)
    tensors = load_file(model / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    assert "lm_head.weight" not in tensors  # tied: stored once
    config = json.loads((model / "config.json").read_text())
    assert (config["model_type"], config["architectures"], config["vocab_size"]) == ("gpt2", ["GPT2LMHeadModel"], 300)
    assert (model / "README.md").read_text() == "# a card\n"


def test_the_generation_settings_are_the_jobs_and_eos_ends_a_text(export):
    written = json.loads((export() / "generation_config.json").read_text())
    expected = {"do_sample": True, "max_new_tokens": 12, "temperature": 0.8, "top_k": 20, "top_p": 0.9}
    assert {key: written[key] for key in expected} == expected
    assert (written["eos_token_id"], written["pad_token_id"]) == (0, 0)
    greedy = Generation(max_new_tokens=5, temperature=0, top_k=50, top_p=1.0)
    written = json.loads((export(generation=greedy) / "generation_config.json").read_text())
    assert written["do_sample"] is False
    assert "temperature" not in written


def test_the_same_weights_give_the_same_bytes_and_replace_an_older_model(export, tmp_path):
    first = _digests(export())
    (tmp_path / "model" / "stray.txt").write_text("of an older export")
    assert _digests(export()) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tokenizer"]


def test_a_model_with_one_bit_changed_is_named_and_not_used(export):
    model = export()
    load_network(model)
    (model / "README.md").write_text("# a card that its owner has written\n")
    load_network(model)
    for name in ("model.safetensors", "config.json", "SHA256SUMS"):
        good = (model / name).read_bytes()
        (model / name).write_bytes(DAMAGES["one bit"](good, random.Random(name)))
        with pytest.raises(CheckpointError, match="is not what SHA256SUMS says: damaged, or changed since"):
            load_network(model)
        (model / name).write_bytes(good)
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=model).returncode == 0


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "bf16"])
def test_weights_that_do_not_fit_are_refused_by_name_and_the_old_model_stays(export, build_small, tmp_path, damage):
    before = _digests(export())
    weights = _weights(build_small())
    name = "lm_head.weight" if damage == "extra" else "transformer.wpe.weight"
    match damage:
        case "missing":
            weights.pop(name)
        case "extra":
            weights[name] = weights["transformer.wte.weight"]
        case "shape":
            weights[name] = torch.zeros(3, 3)
        case "bf16":
            weights[name] = weights[name].bfloat16()
    with pytest.raises(CheckpointError, match=name):
        export(weights=weights)
    assert _digests(tmp_path / "model") == before


def test_a_model_that_can_not_be_shown_to_answer_alike_never_takes_the_place(export, build_small, tmp_path):
    # NaN is unlike itself, so a diverged network can't be shown to be written right.
    with pytest.raises(CheckpointError, match="answers differently"):
        export(weights={name: value * float("nan") for name, value in _weights(build_small()).items()})
    assert not (tmp_path / "model").exists()


KILLED = """
import sys
from pathlib import Path
from runjob.runner.worker.export import copy_model
copy_model(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["export-written", "export-moved"])
def test_a_killed_export_leaves_no_model_or_a_whole_one_and_the_next_one_clears_up(export, tmp_path, moment, home):
    run = RunDir(tmp_path / "gpt2-0123abcd")
    run.path.mkdir()
    run.job.write_text("{}")
    export(target=run.model)
    target = tmp_path / "copy"
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(run.model), str(target)],
        env={**home.env, "RUNJOB_TEST_FAULT": f"{moment}@0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -9, child.stderr
    assert not target.exists()
    assert (tmp_path / ".copy.new").exists()
    assert main([str(run.path), "--to", str(target)]) == 0
    assert not (tmp_path / ".copy.new").exists()
    assert _digests(target) == _digests(run.model)


def test_the_model_of_a_run_is_copied_and_the_copy_compared(export, tmp_path, capsys):
    run = RunDir(tmp_path / "gpt2-0123abcd")
    run.path.mkdir()
    run.job.write_text("{}")
    export(target=run.model)
    assert main([str(run.path), "--to", str(tmp_path / "somewhere" / "new")]) == 0
    assert "answers equal" in capsys.readouterr().out
    assert _digests(tmp_path / "somewhere" / "new") == _digests(run.model)
    assert load_network(tmp_path / "somewhere" / "new").config.n_embd == 32
    assert main([str(run.model), "--to", str(run.model)]) == 2
    assert "exists and is not an empty directory" in capsys.readouterr().err


def test_what_a_model_is_said_to_load_with_is_a_class_of_transformers():
    ours = ["char_ar"]  # a head that transformers lacks
    assert [task for task, auto in AUTO.items() if not hasattr(transformers, auto.__name__)] == ours


def test_a_run_without_a_model_and_a_damaged_model_are_named_without_a_traceback(export, tmp_path, capsys):
    run = RunDir(tmp_path / "gpt2-0123abcd")
    run.path.mkdir()
    run.job.write_text("{}")
    assert main([str(run.path), "--to", str(tmp_path / "new")]) == 2
    assert "gpt2-0123abcd: has no model/ yet" in capsys.readouterr().err
    export(target=run.model)
    (run.model / "SHA256SUMS").unlink()  # as in a model from elsewhere
    weights = run.model / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("transformer.wpe.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert main([str(run.path), "--to", str(tmp_path / "new")]) == 1
    assert "lacks transformer.wpe.weight" in capsys.readouterr().err
    weights.write_bytes(weights.read_bytes()[:1000])
    assert main([str(run.path), "--to", str(tmp_path / "new")]) == 1
    assert "can't be read as a model" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_target_inside_of_the_source_and_a_step_that_is_not_there_are_refused(export, tmp_path, capsys):
    run = RunDir(tmp_path / "gpt2-0123abcd")
    run.path.mkdir()
    run.job.write_text("{}")
    export(target=run.model)
    assert main([str(run.model), "--to", str(run.model / "copy")]) == 2
    assert "lies inside of what is to be copied" in capsys.readouterr().err
    for wanted in ("7", "best", "latest"):
        assert main([str(run.path), "--to", str(tmp_path / "new"), "--step", wanted]) == 2
    said = capsys.readouterr().err
    assert "--step 7: gpt2-0123abcd has no checkpoint of that name; it has none yet" in said
    assert "gpt2-0123abcd has no complete checkpoint" in said
    assert main([str(run.model), "--to", str(tmp_path / "new"), "--step", "7"]) == 2
    assert "is no run directory, and only a run has checkpoints" in capsys.readouterr().err
    assert main([str(run.path), "--to", str(tmp_path / "new"), "--length", "24"]) == 2
    assert "--length is for --format onnx" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
