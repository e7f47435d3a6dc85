"""Of which kind a document is, from one file to a model that plain transformers asks: CANINE with a head on the
backbone of an earlier run, killed and resumed bit for bit, the same for any number of ranks."""

import dataclasses
import gzip
import json
import subprocess
import sys

import pytest

from runjob.data.samples import locate
from runjob.data.split import hash_side
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

JOB = """
schema: 1
name: kinds
seed: 3
data:
  kind: jsonl
  path: names.jsonl
  target: label
  layout: lines
  long_documents: truncate
  sequence_length: 32
  tokenizer: {kind: characters}
  split: {kind: hash, validation: 0.25}
model:
  init: {kind: run, id: backbone@latest}
  allow_new: [head]
objective: {kind: sequence_classification, labels: [site, third-party, school], class_weights: balanced}
training:
  length: 40 steps
  global_batch: 16
  micro_tokens: 256
  learning_rate: 4e-3
  log_every: 1 steps
  checkpoint: {every: 15 steps, keep: 2}
evaluation: {every: 20 steps, best: f1_macro}
hardware: {device: cpu, ranks: 1, threads: 1}
tracking: {tensorboard: false}
"""
SIZES = "hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 32, dropout: 0.05"
BACKBONE = (
    "name=backbone",
    "objective={kind: mlm, unit: char}",
    f"model.init={{kind: scratch, architecture: canine, {SIZES}, num_hash_buckets: 512, character_table: 512}}",
    "data.target=null",
    "training.length=3 steps",
    "evaluation={best: loss}",
)
# In a process of its own: in ours transformers' class of CANINE is runjob's
ASK = """
import json, sys
from transformers import pipeline
tell = pipeline("text-classification", model=sys.argv[1])
labels = [tell(text, truncation=True, max_length=32)[0]["label"] for text in json.load(sys.stdin)]
json.dump([type(tell.model).__module__, *labels], sys.stdout)
"""


@pytest.fixture
def kinds(bench: Bench) -> Bench:
    """The bench with a job of three kinds of names in place of its own; one is longer than a row."""
    job = bench.job.with_name("kinds.yaml")
    job.write_text(JOB)
    lines = gzip.decompress(locate("domains_labelled").read_bytes()).decode().splitlines()
    rows = [line for line in lines if '"mail"' not in line][:300]
    rows.append(json.dumps({"text": f"{'w' * 40}.example.edu", "label": "school"}))
    job.with_name("names.jsonl").write_text("".join(f"{line}\n" for line in rows))
    return dataclasses.replace(bench, job=job)


def test_a_head_for_documents_resumes_exactly_counts_alike_on_two_ranks_and_answers_in_plain_transformers(
    kinds: Bench,
) -> None:
    refused = kinds.runjob(kinds.job)
    assert refused.returncode == 2
    assert "backbone@latest: no such job" in refused.stderr
    kinds.submit(*BACKBONE)
    unbroken = kinds.submit()
    broken = kinds.start()
    kinds.reach(broken, 18)
    kinds.kill_everything(broken)
    kinds.resume(broken)
    assert_same_run(unbroken, broken)

    [account] = unbroken.read_events("init")
    new = {"canine.pooler.dense.weight", "canine.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert {tensor["name"] for tensor in account["new_tensors"]} == new
    said = (unbroken.attempt(1).path / "prepare.log").read_text()
    assert "documents (site 1" in said
    assert "tokens of longer documents are cut off" in said

    evaluations = records(unbroken, "eval")
    each = {f"{name}/{label}" for name in ("f1", "precision", "recall") for label in ("site", "third-party", "school")}
    assert set(evaluations[0]) == {"event", "step", "loss", "perplexity", "accuracy", "f1_macro", *each}
    [finish] = records(unbroken, "finish")
    best = max(evaluations[1:], key=lambda record: (record["f1_macro"], -record["step"]))
    assert finish["model_step"] == best["step"]
    assert evaluations[0]["f1_macro"] < best["f1_macro"]

    held = [row for row in rows_of(kinds) if hash_side(row["text"], validation=0.25, test=None, seed=3) == "validation"]
    asked = json.dumps([row["text"] for row in held])
    command = (sys.executable, "-c", ASK, str(unbroken.model))
    plain, *labels = json.loads(subprocess.run(command, input=asked, check=True, capture_output=True, text=True).stdout)
    assert plain == "transformers.models.canine.modeling_canine"
    right = sum(label == row["label"] for label, row in zip(labels, held, strict=True))
    assert right / len(held) == best["accuracy"]
    card = (unbroken.model / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert f"| third-party | {best['precision/third-party']:.4f} |" in card
    assert f"(macro): {best['f1_macro']:.4f}" in card

    together = kinds.submit("hardware.ranks=2", "training.length=3 steps", "evaluation.every=3 steps")
    first = [[record["batch"] for record in records(run, "train")[:3]] for run in (unbroken, together)]
    assert first[0] == first[1]
    one, two = ({name: value for name, value in found.items() if name != "event"} for found in (
        evaluations[0], records(together, "eval")[0]))  # fmt: skip
    assert two == pytest.approx(one, rel=1e-5)


def rows_of(kinds: Bench) -> list[dict[str, str]]:
    return [json.loads(line) for line in kinds.job.with_name("names.jsonl").read_text().splitlines()]
