"""`make run` in its two commands: the shipped job trains on the shipped Dutch text, beats counting, and writes."""

import json

import pytest

from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, Runjob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_shipped_job_ends_below_the_bigram_and_the_model_writes_dutch(home: Home, runjob: Runjob) -> None:
    done = runjob(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", timeout_s=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(home.runs / done.stdout.splitlines()[0])
    finish = [record for record in run.read_events() if record["event"] == "finish"]
    # 67.3 against 84.3 on the machine where the job was tuned; processors round otherwise
    assert finish[0]["eval_perplexity"] < 0.9 * finish[0]["baseline_perplexity"]
    assert f"baseline perplexity {finish[0]['baseline_perplexity']:.5g}"[:24] in done.stdout
    written = runjob("generate", "latest", "--json", "--seed", "1", timeout_s=300)
    assert written.returncode == 0, written.stderr
    texts = " ".join(str(json.loads(line)) for line in written.stdout.splitlines())
    samples = [json.loads(line) for line in run.samples.read_text(encoding="utf-8").splitlines()]
    assert [one["prompt"] for one in samples] == [
        "Kies een cel en",
        "Als u een tabel wilt invoegen,",
        "Met deze opdracht",
    ]
    assert all(one["text"].startswith(one["prompt"]) for one in samples)
    assert sum(word in texts for word in (" de ", " het ", " een ", " in ", " van ", " en ")) >= 3
