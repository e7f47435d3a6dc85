"""The sizes that decide how much a network computes are found in the job, beside a checkpoint, in the Hub's cache, or
in the shipped table, and nowhere else."""

import json
from pathlib import Path
from typing import Any

import pytest

from runjob.runner.model_shape import KNOWN_SHAPES, Shape, shape_of
from runjob.schemas.job import Job
from runjob.schemas.read import read_job
from tests.conftest import ROOT

BERT = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 200,
    "num_attention_heads": 4,
    "vocab_size": 999,
}
EXPECTED = Shape(family="bert", width=64, layers=3, inner=200, heads=4, classes=999, buckets=0, drops=True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def adapting(path: str | Path, *, tokenizer: str = "some/tokenizer", revision: str | None = None) -> Job:
    """The tiny paleo job with other first weights; by default with a tokenizer that nobody knows here."""
    sets = [f"model.init={json.dumps({'kind': 'pretrained', 'path': str(path), 'revision': revision})}"]
    sets.append("data.normalize.join_terms=false")
    sets.append(f"data.tokenizer={json.dumps({'kind': 'pretrained', 'path': tokenizer})}")
    return read_job(ROOT / "jobs" / "tiny" / "paleo_dapt.yaml", sets).job


def write(folder: Path, config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_directory_says_its_sizes(tmp_path: Path, hub: Path) -> None:
    assert shape_of(adapting(write(tmp_path / "m", BERT))) == EXPECTED
    gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_inner": None, "n_head": 2, "vocab_size": 500}
    shape = Shape(family="gpt2", width=32, layers=2, inner=128, heads=2, classes=500, buckets=0, drops=True)
    assert shape_of(adapting(write(tmp_path / "g", gpt2))) == shape
    deberta = {**BERT, "model_type": "deberta-v2", "position_buckets": 16}
    found = shape_of(adapting(write(tmp_path / "d", deberta)))
    assert found is not None and (found.family, found.buckets) == ("deberta-v2", 16)


def test_a_copy_in_the_cache_of_the_hub_says_them_too(hub: Path) -> None:
    copy = hub / "models--some--model"
    write(copy / "snapshots" / "c0ffee", BERT)
    write(copy / "snapshots" / "beef", {**BERT, "hidden_size": 128})
    (copy / "refs").mkdir()
    (copy / "refs" / "main").write_text("c0ffee")
    assert shape_of(adapting("some/model")) == EXPECTED
    other = shape_of(adapting("some/model", revision="beef"))
    assert other is not None and other.width == 128
    assert shape_of(adapting("some/other")) is None


def test_public_ones_are_known_without_a_copy_and_get_the_vocabulary_of_the_job(hub: Path) -> None:
    assert shape_of(adapting("microsoft/deberta-v3-base")) == KNOWN_SHAPES["microsoft/deberta-v3-base"]
    known = shape_of(adapting("microsoft/deberta-v3-base", tokenizer="gpt2"))
    assert known is not None and known.classes == 50257


@pytest.mark.parametrize(
    "config",
    [
        {**BERT, "model_type": "t5"},
        {**BERT, "hidden_size": None},
        {"model_type": "bert"},
        ["no", "mapping"],
    ],
    ids=["a family that nobody counts", "no width", "no sizes", "no configuration"],
)
def test_what_does_not_say_them_has_none(tmp_path: Path, hub: Path, config: Any) -> None:
    assert shape_of(adapting(write(tmp_path / "m", config))) is None


def test_a_broken_file_has_none(tmp_path: Path, hub: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert shape_of(adapting(tmp_path)) is None
    assert shape_of(adapting(tmp_path / "nowhere")) is None
