"""One job from YAML to a model: what the run directory holds, what the events say, what stops a job in time."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from runjob.data.batches import batch_digest
from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.rows import PackedRows
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.schemas.run import RunDir, read_json, write_json
from tests.end_to_end.conftest import Bench, Straight, assert_same_run, digest, losses, records

pytestmark = pytest.mark.slow


def only(run: RunDir, event: str) -> dict[str, object]:
    found = [record for record in run.read_events() if record["event"] == event]
    assert len(found) == 1, f"{len(found)} {event} events"
    return found[0]


def test_a_job_ends_with_a_model_that_transformers_loads(bench: Bench) -> None:
    asked = ("evaluation.prompts=[Kies een cel, ' ']", "evaluation.generation={max_new_tokens: 3}")
    run = bench.submit("evaluation.baseline=interpolated_bigram", *asked)
    assert read_json(run.status)["state"] == "finished"
    assert read_json(run.progress)["step"] == 20
    train, evaluations = records(run, "train"), records(run, "eval")
    assert [record["step"] for record in train] == list(range(1, 21))
    assert [record["step"] for record in evaluations] == [0, 5, 10, 15, 20]
    assert train[-1]["loss"] < train[0]["loss"]
    finish = only(run, "finish")
    assert finish["eval_perplexity"] == pytest.approx(math.exp(evaluations[-1]["loss"]))
    assert finish["baseline_perplexity"] == only(run, "baseline")["perplexity"]
    best = min(evaluations[1:], key=lambda record: record["loss"])
    assert finish["best_step"] == finish["model_step"] == best["step"]
    text, problem = only(run, "samples")["texts"]
    assert (text["prompt"], problem["prompt"]) == ("Kies een cel", " ")
    assert text["text"].startswith("Kies een cel")
    assert problem["problem"] == "the prompt is empty; type at least one word"
    start = only(run, "start")
    assert start["hashes"]["deepspeed.json"] == digest(run.deepspeed)
    assert start["threads"] == 1
    assert only(run, "init")["new"]["tensors"] == 28
    report = read_json(run.init)
    assert [tensor["name"] for tensor in report["tied"]] == ["lm_head.weight"]
    assert {tensor["name"] for tensor in report["new"]} == set(names_in(run, "step-00000020"))

    network = AutoModelForCausalLM.from_pretrained(run.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    kept = load_file(run.checkpoints / f"step-{best['step']:08d}" / "weights-00001.safetensors")
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, kept[name]), name
    assert tokenizer.decode(tokenizer("Kies een cel.")["input_ids"]) == "Kies een cel."
    # the evaluation loss of the best step, computed by transformers itself on the same rows
    assert validation_loss(network, run) == pytest.approx(best["loss"], rel=1e-6)


def validation_loss(network: torch.nn.Module, run: RunDir) -> float:
    rows = PackedRows(store_of(run).validation, 32)
    nats = 0.0
    with torch.inference_mode():
        for number in range(len(rows)):
            row = rows.row(number)
            inputs, labels = (torch.from_numpy(part)[None] for part in (row.input_ids, row.labels))
            logits = network(inputs).logits[0].double()
            nats += float(torch.nn.functional.cross_entropy(logits, labels[0], reduction="sum"))
    return nats / rows.predicted


def names_in(run: RunDir, folder: str) -> list[str]:
    return list(load_file(run.checkpoints / folder / "weights-00001.safetensors"))


def store_of(run: RunDir) -> Store:
    return Store.open(Path(read_json(run.data)["store"]))


def test_the_batch_hashes_are_those_of_the_order(bench: Bench) -> None:
    run = bench.submit("training.length=6 steps", "hardware.ranks=2")
    rows = PackedRows(store_of(run).train, 32)
    stream = TrainStream(rows, Order(len(rows), 42), global_batch=8, limit=Limit(rows=8, tokens=None), rank=0, ranks=1)
    expected = [batch_digest(stream.step(step).digests) for step in range(1, 7)]
    stream.close()
    assert [record["batch"] for record in records(run, "train")] == expected


def test_a_nan_stops_the_job_before_the_optimiser_step_and_is_named(bench: Bench) -> None:
    good = bench.submit("training.length=6 steps")
    weights = load_file(good.model / "model.safetensors")
    weights["transformer.h.1.ln_2.bias"][3] = math.nan
    save_file(weights, good.model / "model.safetensors", metadata={"format": "pt"})
    path = json.dumps({"kind": "pretrained", "path": str(good.model)})
    sets = f"model.init={path}", f"data.tokenizer={path}", "hardware.ranks=2", "hardware.zero=2"
    bad = bench.submit(*sets, "evaluation.at_start=false", expect=1)
    said = read_json(bad.attempt(1).exit)
    assert said["reason"] == "NumericsError"
    assert "step 1: loss nan" in said["error"]
    assert "before the optimiser step" in said["error"]
    assert "in the gradient of transformer." in said["error"]
    assert only(bad, "error")["step"] == 0
    why = bench.why(bad)
    assert (why["class"], why["step"]) == ("numerics", 0)
    assert why["command"] == f"runjob resume {bad.id} --set training.learning_rate=0.003 --accept"
    assert records(bad) == []
    measured = bench.submit(*sets, expect=1)
    assert "evaluation at step 0: the loss is nan" in read_json(measured.attempt(1).exit)["error"]


def test_an_edited_deepspeed_file_changes_the_run(bench: Bench) -> None:
    paused = bench.submit("training.stop_after=7 steps", expect=75)
    twin = bench.submit("training.stop_after=7 steps", expect=75)
    config = read_json(twin.deepspeed)
    config["optimizer"]["params"]["weight_decay"] = 0.9
    write_json(twin.deepspeed, config)
    bench.resume(paused)
    said = bench.resume(twin)
    assert "deepspeed.json" in said
    assert losses(paused)[:8] == losses(twin)[:8]
    assert losses(paused)[9:] != losses(twin)[9:]


def test_a_flipped_bit_in_the_newest_checkpoint_is_named_and_passed_over(bench: Bench, straight: Straight) -> None:
    broken = bench.submit("training.stop_after=14 steps", expect=75)
    weights = broken.checkpoints / "step-00000014" / "weights-00001.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    bench.resume(broken)
    resumed = only(broken, "resume")
    assert resumed["checkpoint"] == "step-00000010"
    assert "weights-00001.safetensors is damaged" in resumed["passed_over"][0]
    assert_same_run(straight(), broken)


def test_a_finished_job_is_lengthened_on_the_same_batches(bench: Bench) -> None:
    short = bench.submit("training.schedule={kind: constant, warmup: 5 steps}")
    bench.resume(short, "--set", "training.length=30 steps", "--accept")
    long = bench.submit("training.schedule={kind: constant, warmup: 5 steps}", "training.length=30 steps")
    assert records(short, "train") == records(long, "train")
    assert digest(short.model / "model.safetensors") == digest(long.model / "model.safetensors")


def test_early_stopping_ends_the_job_with_its_best_model(bench: Bench) -> None:
    rule = "evaluation.early_stopping={metric: loss, patience: 2 evaluations, min_delta: 100.0}"
    run = bench.submit("evaluation.every=2 steps", rule)
    assert only(run, "early_stop")["step"] == 6
    assert only(run, "finish")["reason"] == "early_stop"
    assert records(run, "train")[-1]["step"] == 6
    bench.resume(run, "--set", "training.length=24 steps")
    assert only(run, "finish")["step"] == 12


def test_another_tokenizer_or_corpus_is_refused_on_resume_before_it_is_prepared(bench: Bench) -> None:
    run = bench.submit("training.stop_after=7 steps", expect=75)
    said = bench.resume(run, "--set", "data.tokenizer.vocab_size=600", expect=2)
    assert "data.tokenizer.vocab_size" in said
    corpus, stores = bench.home.path / "corpus.txt", set((bench.home.cache / "stores").iterdir())
    corpus.write_text(corpus.read_text(encoding="utf-8") + "\nZin.\n", encoding="utf-8")
    said = bench.resume(run, expect=1)
    assert re.search(r"step-00000007 belongs to other data: corpus: [0-9a-f]{12} then, [0-9a-f]{12} now; put the", said)
    assert set((bench.home.cache / "stores").iterdir()) == stores
    assert not run.attempt(2).rank_log(0).exists()
    assert bench.why(run)["class"] == "data"


def test_gradient_checkpointing_gives_the_same_losses(bench: Bench) -> None:
    plain = bench.submit("training.length=8 steps")
    recomputed = bench.submit("training.length=8 steps", "training.gradient_checkpointing=true")
    assert losses(recomputed) == pytest.approx(losses(plain), rel=1e-6)


def test_a_model_of_a_run_can_be_trained_on(bench: Bench) -> None:
    first = bench.submit()
    init = json.dumps({"kind": "pretrained", "path": str(first.model)})
    tokenizer = json.dumps({"kind": "pretrained", "path": str(first.model)})
    second = bench.submit(f"model.init={init}", f"data.tokenizer={tokenizer}", "training.length=6 steps")
    assert only(second, "init")["loaded"]["tensors"] == 28
    best = min(record["loss"] for record in records(first, "eval"))
    assert records(second, "eval")[0]["loss"] == pytest.approx(best, rel=1e-6)
