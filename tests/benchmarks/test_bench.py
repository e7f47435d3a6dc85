"""`make bench` as it is typed, on a network of two narrow layers: all columns run, and what they count is known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from benchmarks.speed.runs import read_events, read_record
from benchmarks.speed.workloads import TINY
from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow


@pytest.mark.nightly
def test_all_columns_run_and_count_the_same_tokens_and_learn_the_same(tmp_path: Path):
    journal, place = tmp_path / "journal.md", tmp_path / "place"
    journal.write_text("# Journal\n\n## before\n")
    argv = [sys.executable, "-m", "benchmarks.speed", "--rows", "tiny", "--repeats", "1", "--threads", "1", "--beside"]
    argv += ["--journal", str(journal), "--keep", str(place)]
    done = subprocess.run(
        argv, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| tiny: {TINY.title} |" in done.stdout
    assert "DIFFERS" not in done.stdout
    written = journal.read_text()
    assert written.index("| tiny: ") < written.index("## before")

    tokenizer = Tokenizer.from_file(str(place / "tiny" / "model" / "tokenizer.json"))
    lines = (place / "tiny" / "train.txt").read_text().splitlines()
    assert len(lines) == TINY.batch  # every step reads all of them
    tokens = sum(min(len(tokenizer.encode(line).ids), TINY.length) for line in lines)
    (events,) = (place / "tiny" / "runs").glob("*/events.jsonl")
    runs = [read_record(place / "tiny" / f"{name}-1.json", seed=1) for name in "AB"] + [read_events(events, seed=1)]
    for run in runs:
        assert [step.tokens for step in run.steps] == [tokens] * TINY.steps
    assert [run.dtype for run in runs] == [
        "fp32",
        "bf16",
        json.loads((place / "tiny" / "tiny-1.yaml").read_text())["training"]["precision"],
    ]
    # before its first update each has the loss of the same weights, but for masks and dropout
    assert max(run.steps[0].loss for run in runs) - min(run.steps[0].loss for run in runs) < 0.1
