"""Code of a model's repository runs where the job trusts a commit of it, and nowhere else."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from runjob.data.tokenizers import load_pretrained
from runjob.runner.worker.export import load_network
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.loading import load, runs_its_own_code
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job_data import PretrainedTokenizer
from runjob.schemas.job_model import Model, PretrainedInit
from tests.worker.foreign_code import plant_code
from tests.worker.test_init import VOCAB, tokens


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def build(path: Path, *, trusted: bool) -> object:
    init = PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=trusted)
    return build_network(Model(init=init, allow_new=()), "clm", tokenizer=tokens(VOCAB), seed=7)


def test_code_that_comes_with_a_model_is_not_run_unasked(saved: Path, ran: Path):
    plant_code(saved, ran)
    named = {"tokenizer_class": "Tokenizer", "auto_map": {"AutoTokenizer": [None, "theirs.Tokenizer"]}}
    (saved / "tokenizer_config.json").write_text(json.dumps(named))
    with pytest.raises(JobError, match=r"model\.init\.path"):
        build(saved, trusted=False)
    with pytest.raises(CheckpointError, match="can't be read as a model of transformers"):
        load_network(saved)
    with pytest.raises(JobError, match=r"data\.tokenizer\.path"):
        load_pretrained(PretrainedTokenizer(kind="pretrained", path=str(saved), revision=None, terms={}))
    assert not ran.exists()


def test_code_that_a_job_trusts_is_run_and_every_tensor_accounted_for(saved: Path, ran: Path):
    before = load_network(saved)
    plant_code(saved, ran)
    network, report = build(saved, trusted=True)
    assert ran.exists()
    assert (runs_its_own_code(network), type(network).__name__) == (True, "Model")
    assert (report.new, report.unexpected, len(report.loaded)) == ((), (), 16)
    row = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(network.eval()(row).logits, before(row).logits)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "gpt2"}, "its model_type is gpt2, which transformers computes itself: delete trust_remote_code"),
        (
            {"repository": "somebody/else"},
            "code is that of another repository, at no commit that .* names: somebody/else",
        ),
    ],
)
def test_code_that_no_commit_pins_or_that_nobody_needs_is_refused_before_it_runs(
    saved: Path, ran: Path, changes: dict[str, str], said: str
):
    plant_code(saved, ran, **changes)
    with pytest.raises(ValueError, match=said):
        load(saved, "clm", trusted=True)
    assert not ran.exists()
