"""The bench's own arithmetic: what a second is filled with, when two curves are the same, what a table and the journal
say, what a column finds in its environment."""

import dataclasses
import json
import math
import random
import sys
from datetime import date
from pathlib import Path

import pytest

from benchmarks.speed import workloads
from benchmarks.speed.__main__ import failures
from benchmarks.speed.columns import Stage, environment, job_of, runjob_settings
from benchmarks.speed.inputs import Inputs
from benchmarks.speed.journal import entry, insert
from benchmarks.speed.machine import Facts
from benchmarks.speed.measure import Measured, Row
from benchmarks.speed.noise import Verdict, compare, end_loss, standard_error
from benchmarks.speed.processes import BenchError, execute
from benchmarks.speed.runs import Run, Step, read_events, read_record
from benchmarks.speed.table import against, header, lines_of, title
from runjob.runner.compile import ALLOCATOR

TINY = workloads.TINY


def make_run(losses, *, seed=1, tokens=100, seconds=2.0, predicted=None):
    steps = [
        Step(number=number, time=1000 + seconds * number, tokens=tokens, predicted=predicted, loss=loss)
        for number, loss in enumerate(losses, start=1)
    ]
    return Run(seed=seed, steps=tuple(steps), threads=2, dtype="bf16", kernels="torch")


def test_a_rate_holds_whole_steps_after_the_warm_up():
    steps = [
        Step(number=n, time=t, tokens=10 * n, predicted=n, loss=1.0) for n, t in ((1, 50), (2, 53), (3, 55), (4, 58))
    ]
    run = Run(seed=1, steps=tuple(steps), threads=1, dtype="fp32", kernels="torch")
    assert run.rate("tokens", uncounted=2) == (30 + 40) / (58 - 53)
    assert run.rate("predicted", uncounted=1) == (2 + 3 + 4) / (58 - 50)


def test_a_peer_that_does_not_tell_what_it_predicted_is_not_counted_by_it():
    with pytest.raises(ValueError, match="step 2 did not say"):
        make_run([1.0, 1.0]).rate("predicted", uncounted=1)


def test_events_and_the_record_of_a_peer_become_the_same_run(tmp_path: Path):
    events = [{"event": "start", "step": 0, "threads": 2, "dtype": "bf16", "kernels": "torch"}]
    events += [{"event": "train", "step": 1, "time": 10.0, "tokens": 70, "predicted": 9, "loss": 3.0}]
    events += [{"event": "advice", "step": 1}]
    events += [{"event": "train", "step": 2, "time": 12.0, "tokens": 150, "predicted": 11, "loss": 2.5}]
    log, record = tmp_path / "events.jsonl", tmp_path / "record.json"
    log.write_text("".join(json.dumps(one) + "\n" for one in events))
    steps = [
        {"number": 1, "time": 10.0, "tokens": 70, "predicted": 9, "loss": 3.0},
        {"number": 2, "time": 12.0, "tokens": 80, "predicted": 11, "loss": 2.5},
    ]
    record.write_text(json.dumps({"threads": 2, "dtype": "bf16", "steps": steps}))
    assert read_events(log, seed=4) == read_record(record, seed=4)


def curves(seeds, *, noise, shift=0.0, steps=10, draws):
    """Losses that fall alike, each step a little off."""
    return [
        make_run([9 - 0.1 * step + shift + draws.gauss(0, noise) for step in range(steps)], seed=seed) for seed in seeds
    ]


def test_noise_alone_is_no_difference_and_a_shift_is_one():
    draws = random.Random(1)
    trials = 300
    alarms = missed = 0
    for _ in range(trials):
        reference = curves((1, 2, 3), noise=0.1, draws=draws)
        alarms += not compare(curves((1, 2, 3), noise=0.1, draws=draws), reference, last=8).same
        missed += compare(curves((1, 2, 3), noise=0.1, shift=0.2, draws=draws), reference, last=8).same
    assert alarms / trials < 0.03
    assert missed / trials < 0.03


def test_a_loss_that_is_no_number_is_a_difference():
    reference = [make_run([2.0, 2.1], seed=1), make_run([2.2, 1.9], seed=2)]
    assert not compare([make_run([2.0, math.nan])], reference, last=2).same


def test_noise_between_seeds_takes_two_seeds():
    with pytest.raises(ValueError, match="takes two"):
        standard_error([make_run([2.0, 2.1], seed=1), make_run([2.0, 2.1], seed=1)], last=2)


def test_a_long_step_counts_by_its_tokens():
    steps = (
        Step(number=1, time=1, tokens=300, predicted=None, loss=2.0),
        Step(number=2, time=2, tokens=100, predicted=None, loss=6.0),
    )
    assert end_loss(steps) == 3.0


def test_where_a_peer_learns_something_else_losses_are_compared_on_rows_that_are_all_as_long():
    """MPNet's peer predicts as many tokens of every row as of the shortest: all that differs is the text."""
    row = workloads.PERMUTED
    assert row.learns_on is not None
    even = workloads.WORKLOADS[row.learns_on]
    same = {"title": row.title, "text": row.text, "batch": row.batch, "learns_on": row.learns_on}
    assert dataclasses.replace(even, **same) == row
    text = even.text()
    assert len(text) >= even.steps * even.batch and all(len(line.split()) >= even.length for line in text)


def make_column(title, *, over_a=1.0, over_b=1.0, rate=500.0, loss=8.0):
    verdict = Verdict(loss=loss, reference=8.0, allowed=0.05)
    return Measured(
        title=title,
        rate=rate,
        over_a=over_a,
        over_b=over_b,
        operations=2e11,
        dtype="bf16",
        kernels="fused",
        threads=2,
        verdict=verdict,
    )


FACTS = Facts(
    device="a processor", processor="a processor", cores=2, threads=2, cuda=False, fp32=1e11, bf16=1e12, versions={}
)


def test_the_table_says_what_was_asked_and_whether_it_was_reached():
    ours = make_column("runjob", rate=3125, over_a=6.25, over_b=2.2)
    row = Row(name="tiny", workload=TINY, a=make_column("A"), b=make_column("B", rate=1420.4), ours=(ours,))
    assert not failures([row])
    (line,) = lines_of(row, FACTS)
    assert line == (
        f"| tiny: {TINY.title} | 500 | 1,420 | runjob | 3,125 | 6.25 (5, 6): stretch | 2.20 (2, 2.5): must "
        "| 8.000 (8.000, 8.000; 0.050) | 20.0% |"
    )
    assert line.count("|") == header().splitlines()[0].count("|")
    assert against(1.999, workloads.MLM_B) == "2.00 (2, 2.5): below"


def test_a_column_that_learns_something_else_is_marked_and_fails_the_row():
    ours = (make_column("runjob"), make_column("runjob, x=y", loss=8.2))
    row = Row(name="tiny", workload=TINY, a=make_column("A"), b=make_column("B"), ours=ours)
    assert failures([row]) == ["tiny: runjob, x=y ends at 8.200, A at 8.000; seeds alone are worth 0.050"]
    first, second = lines_of(row, FACTS)
    assert "DIFFERS" not in first
    assert "8.200 (8.000, 8.000; 0.050) DIFFERS" in second


def test_the_journal_has_the_newest_entry_first(tmp_path: Path):
    journal = tmp_path / "journal.md"
    journal.write_text("# Journal\n\nDated.\n\n## 2026-01-01: before\n\nText.\n")
    insert(journal, entry(title(FACTS, on=date(2026, 2, 3), repeats=3), ["| a |"], ["A note."]))
    assert journal.read_text() == (
        "# Journal\n\nDated.\n\n## 2026-02-03: `make bench` (a processor, 2 cores; medians of 3)\n\nA note.\n\n"
        "| a |\n\n"
        "## 2026-01-01: before\n\nText.\n"
    )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    inputs = Inputs(text=tmp_path / "t.txt", validation=tmp_path / "v.txt", model=tmp_path / "m")
    return Stage(name="tiny", workload=TINY, inputs=inputs, folder=tmp_path, cuda=False)


def test_no_column_finds_settings_of_whoever_calls_and_b_gets_runjobs_own(stage, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    found = environment(stage)
    assert not {"OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "LD_PRELOAD"} & found.keys()
    settings = runjob_settings(stage)
    assert ALLOCATOR.items() <= settings.items()
    assert settings["OMP_NUM_THREADS"] != "7"


def test_threads_that_are_asked_for_are_those_of_all_columns(stage):
    three = dataclasses.replace(stage, threads=3)
    assert environment(three)["OMP_NUM_THREADS"] == runjob_settings(three)["OMP_NUM_THREADS"] == "3"


def test_what_does_not_come_to_its_end_says_how_far_it_came(tmp_path: Path):
    with pytest.raises(BenchError, match=r"ended with exit code 3:\nso far"):
        execute([sys.executable, "-c", "print('so far'); raise SystemExit(3)"], {}, tmp_path)


@pytest.mark.parametrize("row", workloads.WORKLOADS)
def test_the_job_of_every_row_is_one_that_runjob_takes(row, stage, tmp_path: Path):
    from runjob.schemas.read import read_job

    made = job_of(
        Stage(name=row, workload=workloads.WORKLOADS[row], inputs=stage.inputs, folder=tmp_path, cuda=False), seed=3
    )
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(made))
    job = read_job(file).job
    assert (job.seed, job.training.global_batch) == (3, workloads.WORKLOADS[row].batch)
