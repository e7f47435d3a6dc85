"""Named entities from one file to a model that others load: killed and resumed bit for bit, the same for any number of
ranks, on the backbone of an earlier run, and the best by the highest F1."""

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import pipeline

from runjob.schemas.run import read_json
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

JOB = """
schema: 1
name: names
data:
  kind: jsonl
  path: names.jsonl
  target: entities
  layout: lines
  sequence_length: 32
  tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 300}
  split: {kind: hash, validation: 0.25}
model:
  init:
    kind: scratch
    architecture: bert
    hidden_size: 32
    num_hidden_layers: 1
    num_attention_heads: 2
    max_position_embeddings: 32
    dropout: 0.1
objective: {kind: token_classification, labels: [TAXON, TIME], scheme: BILOU, class_weights: balanced}
training:
  length: 40 steps
  global_batch: 16
  micro_batch: 8
  learning_rate: 1e-2
  log_every: 1 steps
  checkpoint: {every: 14 steps, keep: 2}
evaluation: {every: 10 steps, best: f1}
hardware: {device: cpu, ranks: 1, threads: 1}
tracking: {tensorboard: false}
"""
TAXA = ("Olenellus", "Elrathia kingii", "Triceratops", "Smilodon fatalis")
TIMES = ("Cambrian", "Late Cretaceous", "Devonian")


def write_names(path: Path) -> None:
    """Sentences of two forms; of every fiftieth a span ends inside of a word, which no tokenizer cuts there."""
    rows = []
    for number in range(200):
        taxon, time = TAXA[number % 4], TIMES[number // 4 % 3]
        text = (
            f"{taxon} lived in the {time}, says page {number}." if number % 2 else f"In the {time}, {number} {taxon}."
        )
        spans = [(text.index(taxon), len(taxon), "TAXON"), (text.index(time), len(time), "TIME")]
        if number % 50 == 7:
            spans[1] = (spans[1][0], 1, "TIME")
        rows.append(
            {"text": text, "entities": [{"start": at, "end": at + size, "label": name} for at, size, name in spans]}
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def names(bench: Bench) -> Bench:
    """The bench with a job of names in place of its own."""
    job = bench.job.with_name("names.yaml")
    job.write_text(JOB)
    write_names(job.with_name("names.jsonl"))
    return dataclasses.replace(bench, job=job)


def test_a_tagger_killed_and_resumed_is_the_same_and_answers_in_plain_transformers(names: Bench) -> None:
    unbroken = names.submit()
    broken = names.start()
    names.reach(broken, 16)
    names.kill_everything(broken)
    names.resume(broken)
    assert_same_run(unbroken, broken)

    said = (unbroken.attempt(1).path / "prepare.log").read_text()
    train, validation = (
        next(line for line in said.splitlines() if line.startswith(side)) for side in ("train: ", "validation: ")
    )
    assert "spans (TAXON 1" in train
    left_out = sum(int(line.split("asked at ")[1].split()[0]) for line in (train, validation) if "asked at " in line)
    assert left_out == 4

    evaluations = records(unbroken, "eval")
    measured = {f"{name}{ending}" for name in ("f1", "precision", "recall") for ending in ("", "/TAXON", "/TIME")}
    assert set(evaluations[0]) == {"event", "step", "loss", "perplexity", "accuracy", *measured}
    assert evaluations[0]["f1"] < 0.2 < 0.9 < max(record["f1"] for record in evaluations)
    finish = records(unbroken, "finish")[-1]
    highest = max(evaluations[1:], key=lambda record: (record["f1"], -record["step"]))
    assert (finish["best_step"], finish["model_step"]) == (highest["step"], highest["step"])
    confusion = records(unbroken, "confusion")
    assert [record["step"] for record in confusion] == [record["step"] for record in evaluations]
    assert confusion[0]["labels"] == ["O", "TAXON", "TIME"]
    assert len({sum(map(sum, record["tokens"])) for record in confusion}) == 1

    config = read_json(unbroken.model / "config.json")
    assert config["id2label"]["4"] == "U-TAXON"
    find = pipeline("token-classification", model=str(unbroken.model))
    found = find("In the Cambrian, 7 Triceratops.")
    assert found[0]["start"] == 7
    assert {one["entity"].partition("-")[2] for one in found} == {"TAXON", "TIME"}
    card = (unbroken.model / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "`runjob extract` reads them so" in card
    assert 'aggregation_strategy="simple"' not in card
    assert f"| TIME | {highest['precision/TIME']:.4f} |" in card


def test_two_ranks_see_the_batches_of_one_and_count_the_same_entities(names: Bench) -> None:
    alone = names.submit("model.init.dropout=0", "training.length=6 steps")
    together = names.submit("model.init.dropout=0", "training.length=6 steps", "hardware.ranks=2")
    assert [one["batch"] for one in records(together, "train")] == [one["batch"] for one in records(alone, "train")]
    for one, other in zip(records(alone, "eval"), records(together, "eval"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["f1"] == pytest.approx(one["f1"], abs=0.02)
    assert records(alone, "eval")[0]["f1"] == records(together, "eval")[0]["f1"]


def test_a_new_head_goes_on_the_backbone_of_an_earlier_run(names: Bench) -> None:
    short = ("training.length=3 steps", "evaluation.at_start=false")
    backbone = names.submit(
        "objective={kind: mlm}", "data.target=null", "evaluation.best=loss", "name=backbone", *short
    )
    tagger = names.submit(
        "model.init={kind: run, id: backbone@latest}",
        "data.tokenizer={kind: pretrained, path: run:backbone@latest}",
        "model.allow_new=[head]",
        *short,
    )
    [account] = tagger.read_events("init")
    assert [tensor["name"] for tensor in account["new_tensors"]] == ["classifier.weight", "classifier.bias"]
    assert account["loaded"]["tensors"] == 21
    assert read_json(tagger.job)["job"]["model"]["init"]["id"] == backbone.id
