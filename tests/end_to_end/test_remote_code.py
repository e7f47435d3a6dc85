"""A job trusts the code of one commit of a repository: it trains, and its model is used where the job says so."""

import shutil
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from runjob.schemas.run import read_json
from tests.end_to_end.conftest import Bench, losses
from tests.worker.foreign_code import plant_code

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INIT = f"{{kind: pretrained, path: somebody/theirs, revision: {COMMIT}"


def test_code_of_a_commit_trains_and_answers_and_a_model_directory_by_itself_runs_none(bench: Bench, tmp_path: Path):
    ran, hub = tmp_path / "ran", tmp_path / "hub"
    copy = hub / "models--somebody--theirs" / "snapshots" / COMMIT
    config = GPT2Config(vocab_size=512, n_embd=32, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(copy)
    plant_code(copy, ran)
    env = {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}

    trusting = (f"model.init={INIT}, trust_remote_code: true}}", "training.length=6 steps")
    flags = [word for one in trusting for word in ("--set", one)]
    planned = bench.runjob("plan", bench.job, *flags, env=env).stdout
    assert f"warning        code of somebody/theirs at {COMMIT} runs in this job, as you (model.init." in planned
    refused = bench.runjob(bench.job, *flags, "--set", "model.init.trust_remote_code=false", env=env)
    assert refused.returncode != 0
    assert not ran.exists()

    run = bench.submit(*trusting, env=env)
    assert len(losses(run)) == 6
    assert ran.exists()
    assert read_json(run.job)["job"]["model"]["init"]["trust_remote_code"] is True
    assert (run.model / "theirs.py").read_bytes() == (copy / "theirs.py").read_bytes()
    answered = bench.runjob("generate", run.id, "--prompt", "het", env=env)
    assert answered.returncode == 0, answered.stderr

    ran.unlink()
    shutil.copytree(run.model, tmp_path / "model")
    alone = bench.runjob("generate", tmp_path / "model", "--prompt", "het", env=env)
    assert (alone.returncode, ran.exists()) == (1, False), alone.stderr
