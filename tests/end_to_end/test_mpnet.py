"""MPNet's jobs by one command each: the tiny one to a model that plain transformers fills gaps with, the full one
itself on a small stream, with small sizes, stopped, killed and resumed as if nothing had happened, by one rank and by
four."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from runjob.data.pieces import train_wordpiece
from runjob.data.samples import locate
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, Processes, Runjob
from tests.end_to_end.conftest import Bench, assert_same_run, digest, flags, records

pytestmark = pytest.mark.slow

TINY = (
    "training.length=12 steps",
    # as in a job of few steps: at the job's own rate twelve of them move the loss by less than its noise
    "training.global_batch=32",
    "training.learning_rate=4e-3",
    "training.schedule.warmup=2 steps",
    "training.log_every=1 steps",
    "training.checkpoint.every=4 steps",
    "evaluation.every=6 steps",
    "hardware.threads=1",
)
# Of jobs/mpnet_100k.yaml: its sizes and its data, a device that is here, and each step's record
SMALL = (
    "model.init.hidden_size=32",
    "model.init.num_hidden_layers=2",
    "model.init.num_attention_heads=2",
    "model.init.intermediate_size=64",
    "model.init.max_position_embeddings=32",
    "data.path=./published",
    "data.tokenizer.path=./tokenizer",
    "data.block_documents=300",
    "data.sequence_length=32",
    "hardware={device: cpu, ranks: 1, threads: 1}",
    "training.precision=fp32",
    "training.log_every=1 steps",
)


@pytest.fixture
def tiny(home: Home, runjob: Runjob, processes: Processes) -> Bench:
    return Bench(home=home, runjob=runjob, processes=processes, job=ROOT / "jobs" / "tiny" / "mpnet.yaml")


def test_the_tiny_mpnet_job_killed_or_not_ends_in_a_model_that_transformers_fills_gaps_with(tiny: Bench) -> None:
    run = tiny.submit(*TINY)
    steps = records(run, "train")
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.5
    [finish] = records(run, "finish")
    assert finish["model_step"] == finish["best_step"] in (6, 12)
    assert finish["test_loss"] == pytest.approx(finish["eval_loss"], abs=0.5)

    tokenizer, network = AutoTokenizer.from_pretrained(run.model), AutoModelForMaskedLM.from_pretrained(run.model)
    # trained in a table of 2,048
    assert network.get_input_embeddings().weight.shape[0] == network.config.vocab_size == len(tokenizer) == 2000
    assert (tokenizer.pad_token_id, network.config.pad_token_id) == (1, 1)
    guesses = pipeline("fill-mask", model=network, tokenizer=tokenizer)(f"the {tokenizer.mask_token} of the sea")
    filled = tiny.runjob("fill-mask", run.id, "--json", "--prompt", "the [MASK] of the sea")
    assert filled.returncode == 0, filled.stderr
    [gap] = json.loads(filled.stdout)["gaps"]
    assert [guess["token"] for guess in gap] == [guess["token_str"] for guess in guesses]
    assert "predicted one after another in a shuffled order" in (run.model / "README.md").read_text().replace("\n", " ")

    killed = tiny.submit(*TINY, expect=1, env={"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@8"})
    tiny.resume(killed)
    assert_same_run(run, killed)


def write_stream(folder: Path) -> None:
    """Sentences of the sample `english` as four Parquet files in Hub layout, and a tokenizer of MPNet's kind."""
    with gzip.open(locate("english"), "rt", encoding="utf-8") as file:
        sentences = [part for part in re.split(r"(?<=[.;])\s+", file.read(600_000)) if len(part) > 50]
    (folder / "published" / "data").mkdir(parents=True)
    for number in range(4):
        table = pa.table({"text": sentences[number * 500 : number * 500 + 500]})
        pq.write_table(
            table, folder / "published" / "data" / f"train-{number:05d}-of-00004.parquet", row_group_size=100
        )
    train_wordpiece(lambda: sentences, vocab_size=500, lowercase=True, marks="mpnet").save_pretrained(
        folder / "tokenizer"
    )


@pytest.mark.nightly
def test_the_full_job_stopped_early_keeps_its_schedule_and_resumed_twice_more_equals_an_unbroken_run(
    bench: Bench,
) -> None:
    write_stream(bench.home.path)
    job = ROOT / "jobs" / "mpnet_100k.yaml"

    def submit(stop_after: str) -> RunDir:
        done = bench.runjob(job, *flags((*SMALL, f"training.stop_after={stop_after}")))
        assert done.returncode == 75, done.stdout + done.stderr
        return RunDir(bench.home.runs / done.stdout.splitlines()[0])

    unbroken = submit("44 steps")
    broken = submit("30 steps")
    bench.resume(broken, "--set", "training.stop_after=44 steps", "--detach")
    bench.reach(broken, 34)
    bench.kill_everything(broken)
    bench.resume(broken, expect=75)

    steps = records(broken, "train")
    assert [step["step"] for step in steps] == list(range(1, 45))
    # a thousandth of the peak more with each of the first 1,000 of 100,000 steps
    assert [step["learning_rate"] for step in steps] == pytest.approx([6e-7 * step for step in range(1, 45)], rel=1e-9)
    assert steps == records(unbroken, "train")
    assert len({step["predicted"] for step in steps}) > 10  # each row has its own number
    for name in ("weights", "exp_avg", "exp_avg_sq"):
        file = f"checkpoints/step-00000044/{name}-00001.safetensors"
        assert digest(broken.path / file) == digest(unbroken.path / file)
    started = next(record for record in broken.read_events() if record["event"] == "start")
    assert started["steps"] == 100_000


@pytest.mark.nightly
def test_four_ranks_go_on_with_the_stream_where_one_was_killed(bench: Bench) -> None:
    write_stream(bench.home.path)
    sets = (*SMALL, "training.global_batch=16", "training.micro_batch=4", "training.stop_after=6 steps")
    full = replace(bench, job=ROOT / "jobs" / "mpnet_100k.yaml")
    alone = full.submit(*sets, expect=75)
    fault = {"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@4"}
    broken = full.submit(*sets, "training.checkpoint.every=2 steps", expect=1, env=fault)
    full.resume(broken, "--set", "hardware.ranks=4", expect=75)
    names = ("step", "batch", "tokens", "predicted", "samples", "learning_rate")
    seen, expected = ([[step[name] for name in names] for step in records(run, "train")] for run in (broken, alone))
    assert seen == expected and len(seen) == 6
