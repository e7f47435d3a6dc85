"""Advice in a real run: said at its step and once, also where the run was killed in between."""

import pytest

from runjob.schemas.run import RunDir
from tests.end_to_end.conftest import Bench, records

pytestmark = pytest.mark.slow

# Ten passes over a few pages, at a rate that learns them by heart, under a limit that cuts every gradient.
GREEDY = (
    "training.length=204 steps",
    "training.schedule={kind: constant, warmup: 0 steps}",
    "training.gradient_clipping=1e-6",
    "training.optimizer.eps=1e-12",
    "model.init.dropout=0",
    "training.checkpoint.every=20 steps",
    "evaluation.every=10 steps",
)


def said(run: RunDir) -> list[tuple[int, str]]:
    # how long a machine waits for data is its own affair
    return [(told["step"], told["name"]) for told in records(run, "advice") if told["name"] != "data_wait"]


def test_a_killed_run_is_told_once_and_remembers_the_steps_before_the_kill(bench: Bench) -> None:
    corpus = bench.job.parent / "corpus.txt"
    corpus.write_text(corpus.read_text(encoding="utf-8")[:12_000], encoding="utf-8")
    run = bench.start(*GREEDY)
    bench.reach(run, 70)
    bench.kill_everything(run)
    bench.resume(run)
    told = said(run)
    assert told[0] == (0, "tokens_per_parameter")
    # of the hundred steps before it most lie before the kill
    assert (100, "gradient_clipped") in told
    [apart] = [step for step, name in told if name == "evaluation_apart"]
    assert apart % 10 == 0 or apart == 204
    assert len(told) == 3


def test_a_job_that_outgrows_the_memory_is_told_what_to_change(bench: Bench) -> None:
    # attention that is written out asks for tables of rows x rows: terabytes, refused at once whatever the machine
    long = 2**20
    sizes = "hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 1"
    sets = (
        f"data.sequence_length={long}",
        "data.tokenizer={kind: train, algorithm: wordpiece, vocab_size: 512}",
        "objective={kind: mlm}",
        f"model.init={{kind: scratch, architecture: deberta_v2, {sizes}, max_position_embeddings: {long}}}",
        "training.micro_batch=2",
    )
    done = bench.runjob(bench.job, *(word for one in sets for word in ("--set", one)))
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "out of memory in evaluation (" in said
    assert "--set evaluation.micro_batch=1 (now 2)" in said
    assert "Traceback" not in said
