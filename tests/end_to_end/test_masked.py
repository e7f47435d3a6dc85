"""Masked language models from one file to a model that others load: killed and resumed bit for bit, the same for any
number of ranks, and better than at the start."""

import json
import math

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from runjob.schemas.run import RunDir
from tests.end_to_end.conftest import Bench, assert_same_run, records

pytestmark = pytest.mark.slow

WORDPIECE = "data.tokenizer={kind: train, algorithm: wordpiece, vocab_size: 512}"
WORDS = (
    WORDPIECE,
    "model.init.architecture=bert",
    "objective={kind: mlm, unit: word}",
    "evaluation.best=masked_bits_per_byte",
)
TOKENS = (
    WORDPIECE,
    "model.init.architecture=modernbert",
    "model.init.global_attn_every_n_layers=2",
    "model.init.local_attention=8",
    "objective={kind: mlm, probability: 0.3, span: {longest: 4}}",
    "data.layout=lines",
)


def batches(run: RunDir) -> list[tuple[str, int]]:
    return [(record["batch"], record["predicted"]) for record in records(run, "train")]


def test_a_masked_model_killed_and_resumed_is_the_same_and_fills_gaps_in_plain_transformers(bench: Bench) -> None:
    unbroken = bench.submit(*WORDS)
    broken = bench.start(*WORDS)
    bench.reach(broken, 9)
    bench.kill_everything(broken)
    bench.resume(broken)
    assert_same_run(unbroken, broken)

    evaluations = records(unbroken, "eval")
    assert [set(record) for record in evaluations] == [
        {"event", "step", "loss", "perplexity", "masked_bits_per_byte"}
    ] * 5
    assert evaluations[-1]["loss"] < evaluations[0]["loss"] - 0.2
    # a fresh network knows nothing: the logarithm of its vocabulary
    assert evaluations[0]["loss"] == pytest.approx(math.log(512), abs=0.1)
    shares = [record["predicted"] for record in records(unbroken, "train")]
    assert sum(shares) / (20 * 8 * 30) == pytest.approx(0.15, abs=0.02)
    assert len({record["batch"] for record in records(unbroken, "train")}) == 20

    model = AutoModelForMaskedLM.from_pretrained(unbroken.model)
    tokenizer = AutoTokenizer.from_pretrained(unbroken.model)
    found = pipeline("fill-mask", model=model, tokenizer=tokenizer)(f"de waarde van {tokenizer.mask_token} formule")
    typed = bench.runjob("fill-mask", unbroken.id, "--prompt", "de waarde van [MASK] formule", "--json")
    assert typed.returncode == 0, typed.stderr
    [gap] = json.loads(typed.stdout)["gaps"]
    assert [guess["id"] for guess in gap] == [guess["token"] for guess in found]
    assert [guess["probability"] for guess in gap] == pytest.approx([guess["score"] for guess in found], rel=1e-4)
    assert "fill-mask" in (unbroken.model / "README.md").read_text()


def test_two_ranks_hide_what_one_hides_and_go_on_from_its_checkpoint(bench: Bench) -> None:
    alone = bench.submit(*TOKENS, "model.init.dropout=0")
    together = bench.submit(*TOKENS, "model.init.dropout=0", "training.stop_after=10 steps", expect=75)
    bench.resume(together, "--set", "training.stop_after=null", "--set", "hardware.ranks=2", "--accept")
    assert batches(together) == batches(alone)
    for one, other in zip(records(alone, "train"), records(together, "train"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    model = AutoModelForMaskedLM.from_pretrained(together.model).eval()
    with torch.no_grad():
        assert model(torch.arange(5, 25)[None]).logits.isfinite().all()


def test_a_step_in_which_nothing_is_hidden_learns_nothing_and_breaks_nothing(bench: Bench) -> None:
    run = bench.submit(*WORDS, "objective.probability=0.002", "training.length=8 steps", "evaluation.best=null")
    steps = records(run, "train")
    nothing = [record for record in steps if record["predicted"] == 0]
    assert 0 < len(nothing) < 8
    assert all((record["loss"], record["grad_norm"]) == (0.0, 0.0) for record in nothing)
    assert all(record["loss"] > 0 for record in steps if record["predicted"])
