"""CANINE on host names from one file to a model that fills gaps: killed and resumed bit for bit, its early stopping
counting on where it was; whatever Unicode the names are written in."""

import dataclasses
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.data.samples import locate
from runjob.schemas.run import RunDir
from tests.conftest import ROOT
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

JOB = """
schema: 1
name: names
data:
  kind: text
  path: names.txt
  deduplicate: true
  warn_below: 5000
  layout: lines
  sequence_length: 40
  long_documents: truncate
  tokenizer: {kind: characters}
  split: {kind: hash, validation: 0.1}
model:
  init:
    kind: scratch
    architecture: canine
    hidden_size: 32
    num_hidden_layers: 1
    num_attention_heads: 2
    max_position_embeddings: 40
    num_hash_functions: 4
    num_hash_buckets: 128
    character_table: 128
objective: {kind: mlm, unit: char, span: {longest: 4}}
training:
  length: 40 steps
  global_batch: 16
  micro_tokens: 200
  learning_rate: 1e-2
  schedule: {kind: linear, warmup: 2 steps}
  log_every: 1 steps
  checkpoint: {every: 4 steps, keep: 2}
evaluation:
  every: 6 steps
  best: masked_bits_per_byte
  # nothing falls by 100, so the second evaluation after the first stops the run
  early_stopping: {metric: loss, patience: 12 steps, min_delta: 100.0}
  baseline: character_bigram
  prompts: ["goo[MASK]le.com"]
hardware: {device: cpu, ranks: 1, threads: 1}
tracking: {tensorboard: false}
"""
# Beyond the table of 128, in one, two, three and four bytes; punycode; longer than a row
STRANGE = ["münchen.de", "中文网.com", "😀😀😀😀.ws", "xn--bcher-kva.ch", "a" * 5000 + ".com"] * 4


@pytest.fixture
def names(bench: Bench) -> Bench:
    with gzip.open(locate("domains"), "rt", encoding="utf-8") as file:
        found = file.read().split()[:1200]
    different = [f"{number}{name}" for number, name in enumerate(STRANGE)]
    (bench.home.path / "names.txt").write_text("\n".join([*found, *different]) + "\n", encoding="utf-8")
    job = bench.home.path / "names.yaml"
    job.write_text(JOB, encoding="utf-8")
    return dataclasses.replace(bench, job=job)


def events(run: RunDir, kind: str) -> list[dict]:
    return records(run, kind)


def test_a_character_model_killed_and_resumed_is_the_same_and_stops_where_it_would_have(names: Bench) -> None:
    unbroken = names.submit()
    broken = names.start()
    names.reach(broken, 14)
    names.kill_everything(broken)
    names.resume(broken)
    assert_same_run(unbroken, broken)
    (stopped,) = events(unbroken, "early_stop")
    assert (stopped["step"], stopped["best_step"]) == (18, 6)
    assert events(broken, "early_stop") == [stopped]

    evaluations = events(unbroken, "eval")
    assert [record["step"] for record in evaluations] == [0, 6, 12, 18]
    assert evaluations[0]["loss"] == pytest.approx(math.log(128), abs=0.2)
    assert evaluations[-1]["loss"] < evaluations[0]["loss"] - 0.5
    assert all(record["masked_bits_per_byte"] > 0 for record in evaluations)
    (baseline,) = events(unbroken, "baseline")
    assert "both sides" in baseline["method"] and 2 < baseline["loss"] < 4
    said = [record["advice"] for record in events(unbroken, "advice")]
    assert any("fewer than data.warn_below 5,000" in text for text in said)
    assert any("beyond the 128 that the head tells apart" in text for text in said)

    typed = names.runjob("fill-mask", unbroken.id, "--json")
    assert typed.returncode == 0, typed.stderr
    (gap,) = json.loads(typed.stdout)["gaps"]
    assert len(gap) == 5
    assert [guess["probability"] for guess in gap] == pytest.approx(in_plain_transformers(unbroken.model), rel=1e-4)


# The tiny job on a third of its names, and for a tenth of its time
SHORT = (
    "data.token_budget=600k",
    "training.length=320 steps",
    "training.global_batch=64",
    "training.checkpoint.every=320 steps",
    "evaluation.every=320 steps",
    "hardware.threads=1",
)


@pytest.mark.nightly
def test_the_tiny_job_shortened_ends_below_what_pairs_of_characters_reach(bench: Bench) -> None:
    run = dataclasses.replace(bench, job=ROOT / "jobs" / "tiny" / "canine_domains.yaml").submit(*SHORT)
    (baseline,) = events(run, "baseline")
    before, after = events(run, "eval")
    assert after["loss"] < baseline["loss"] < before["loss"]
    # host names are ASCII, so a character is a byte
    assert after["masked_bits_per_byte"] == pytest.approx(after["loss"] / math.log(2), rel=1e-6)
    assert after["perplexity"] < baseline["perplexity"]


def in_plain_transformers(model: Path) -> list[float]:
    """The five likeliest, with nothing of runjob but the class."""
    code = f"""
import torch, runjob.runner.worker.models.canine
from transformers import AutoModelForMaskedLM, AutoTokenizer
model, tokenizer = AutoModelForMaskedLM.from_pretrained({str(model)!r}), AutoTokenizer.from_pretrained({str(model)!r})
ids = torch.tensor([tokenizer("goo\\ue003le.com").input_ids])
with torch.no_grad():
    chances = model.eval()(ids).logits[0, 4].softmax(-1)
print(chances.topk(5).values.tolist())
"""
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=quiet)
    found: list[float] = json.loads(said.stdout.splitlines()[-1])
    return found
