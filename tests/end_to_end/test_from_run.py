"""A job that starts from an earlier one, with real weights: it begins where the other has ended, to the last bit."""

import pytest
from safetensors import safe_open

from runjob.schemas.run import RunDir, read_json
from tests.conftest import ROOT
from tests.small_job import small_job

pytestmark = pytest.mark.slow
TEXT = "\n".join(line for line in (ROOT / "docs" / "data.md").read_text(encoding="utf-8").splitlines() if line)
MORE = "evaluation: {every: 3 steps}\n"
FIVE = "  split: {kind: first, validation: 20}\n  sequence_length: 32"


def small(name: str) -> str:
    text = small_job(more=MORE).replace("name: small", f"name: {name}").replace("  sequence_length: 32", FIVE)
    return text.replace("length: 20 steps", "length: 3 steps")


def test_the_second_begins_with_the_loss_and_the_vocabulary_that_the_first_ended_with(runjob, home):
    (home.path / "text.txt").write_text(TEXT)
    (home.path / "first.yaml").write_text(small("first"))
    start = small("second").partition("  init:\n")
    second = f"{start[0]}  init: {{kind: run, id: first@latest}}\nobjective:{start[2].partition('objective:')[2]}"
    second = second.replace("{kind: train, algorithm: bpe, vocab_size: 512}", "{kind: pretrained, path: 'run:first'}")
    (home.path / "second.yaml").write_text(second)
    for name in ("first", "second"):
        done = runjob(f"{name}.yaml", "--quiet")
        assert done.returncode == 0, done.stderr
    runs = {path.name.partition("-")[0]: RunDir(path) for path in home.runs.iterdir()}
    ended = [record["loss"] for record in runs["first"].read_events("eval")][-1]
    began = next(record for record in runs["second"].read_events("eval"))
    assert (began["step"], began["loss"]) == (0, ended)
    (init,) = runs["second"].read_events("init")
    assert (init["new"]["tensors"], init["loaded"]["parameters"]) == (0, 42880)
    # other weights under the same id are no weights of this job
    assert runjob("second.yaml", "--set", "training.stop_after=1 steps", "--quiet").returncode == 75
    (paused,) = [run for path in home.runs.iterdir() if (run := RunDir(path)).read_status().state == "preempted"]
    weights = runs["first"].model / "model.safetensors"
    weights.write_bytes((runs["second"].model / "model.safetensors").read_bytes())
    refused = runjob("resume", paused.id, "--quiet")
    assert refused.returncode == 1
    assert f"holds other weights than those of {runs['first'].id}" in refused.stdout + refused.stderr
    with safe_open(weights, "np") as file:
        assert "transformer.wte.weight" in set(file.keys())
    assert read_json(paused.job)["job"]["model"]["init"]["id"] == runs["first"].id
