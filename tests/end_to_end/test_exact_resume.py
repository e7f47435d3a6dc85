"""A run that is killed anywhere and resumed equals one that never was: record by record, byte by byte."""

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.end_to_end.conftest import Bench, Straight, assert_same_run, records

pytestmark = pytest.mark.slow


def test_a_run_killed_at_many_moments_equals_an_unbroken_one(bench: Bench, straight: Straight) -> None:
    for step in (1, 8, 12, 19):
        broken = bench.start()
        bench.reach(broken, step)
        bench.kill_everything(broken)
        bench.resume(broken)
        assert_same_run(straight(), broken)


@pytest.mark.parametrize(
    "fault",
    ["checkpoint-before-manifest@14", "checkpoint-before-rename@14", "checkpoint-before-latest@20", "export@20"],
)
def test_a_kill_while_saving_or_exporting_loses_nothing(bench: Bench, straight: Straight, fault: str) -> None:
    broken = bench.submit(expect=1, env={"RUNJOB_TEST_FAULT": fault})
    bench.resume(broken)
    assert_same_run(straight(), broken)
    # the second attempt went on: it trained fewer steps than the whole
    second = [record for record in broken.read_events() if record["event"] == "train" and record["attempt"] == 2]
    assert len(second) < 20


def test_a_run_that_saves_equals_one_that_never_does(bench: Bench) -> None:
    often = bench.submit("training.checkpoint.every=2 steps", "evaluation.best=null")
    never = bench.submit("training.checkpoint.every=never", "evaluation.best=null")
    assert records(often, "checkpoint") != records(never, "checkpoint")
    assert_same_run(often, never)


def test_stopping_twice_on_the_way_changes_nothing(bench: Bench, straight: Straight) -> None:
    paused = bench.submit("training.stop_after=6 steps", expect=75)
    assert read_json(paused.status)["state"] == "preempted"
    bench.resume(paused, "--set", "training.stop_after=13 steps", expect=75)
    bench.resume(paused)
    assert_same_run(straight(), paused)


def test_records_beyond_the_checkpoint_are_kept_aside(bench: Bench) -> None:
    # dies while it saves step 14: the newest complete checkpoint is that of the evaluation at step 10
    broken = bench.submit(expect=1, env={"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@14"})
    before = list(broken.read_events())
    bench.resume(broken)
    pairs = [
        (record["event"], record["step"]) for record in broken.read_events() if record["event"] in ("train", "eval")
    ]
    assert len(pairs) == len(set(pairs))
    aside = RunDir(broken.path).attempt(2).discarded.read_text(encoding="utf-8").splitlines()
    kept = [record for record in broken.read_events() if record["attempt"] == 1]
    assert len(aside) + len(kept) == len(before)
