"""A run that is killed anywhere and resumed equals one that never was: record by record, byte by byte."""

import gzip
import json
import os
import signal
import subprocess

import pytest

from runjob.schemas.manifest import damage, folders_in
from runjob.schemas.run import RunDir, read_json
from tests.conftest import wait_until
from tests.end_to_end.conftest import Bench, Straight, assert_same_run, flags, records

pytestmark = pytest.mark.slow


def hold(where: str, seconds: float) -> dict[str, str]:
    """The thread that writes a checkpoint waits there, and training goes on meanwhile."""
    return {"RUNJOB_TEST_HOLD": f"{where} {seconds}"}


def test_a_run_killed_at_many_moments_equals_an_unbroken_one(bench: Bench, straight: Straight) -> None:
    # at 8 while the thread writes step 7
    for step, held in [(1, {}), (8, hold("checkpoint-before-rename@7", 60)), (12, {}), (19, {})]:
        broken = bench.start(env=held)
        bench.reach(broken, step)
        before = set(folders_in(broken.checkpoints))
        bench.kill_everything(broken)
        assert not held or before == {5}
        bench.resume(broken)
        assert_same_run(straight(), broken)


@pytest.mark.parametrize(
    "fault",
    ["checkpoint-before-manifest@14", "checkpoint-before-rename@14", "checkpoint-before-latest@20", "export@20"],
)
def test_a_kill_while_saving_or_exporting_loses_nothing(bench: Bench, straight: Straight, fault: str) -> None:
    # by then the loop has gone on, to the next save at most
    broken = bench.submit(expect=1, env={"RUNJOB_TEST_FAULT": fault, **hold(fault, 0.5)})
    died_at = max(record["step"] for record in records(broken))
    assert died_at == {14: 15, 20: 20}[int(fault.partition("@")[2])]
    bench.resume(broken)
    assert_same_run(straight(), broken)
    # the second attempt went on: it trained fewer steps than the whole
    second = [record for record in broken.read_events() if record["event"] == "train" and record["attempt"] == 2]
    assert len(second) < 20


def test_a_run_that_saves_equals_one_that_never_does(bench: Bench) -> None:
    sets = "training.checkpoint={every: 2 steps, keep: all}", "evaluation.best=null"
    often = bench.submit(*sets, env=hold("checkpoint-begun@6", 0.5))
    watched = "tracking.profile={first: 3, last: 5}"
    never = bench.submit("training.checkpoint.every=never", "evaluation.best=null", watched)
    assert records(often, "checkpoint") != records(never, "checkpoint")
    assert_same_run(often, never)
    assert_profiled(never, first=3, last=5)
    assert f"profile      {never.profile}/steps-3-5.txt" in bench.runjob("status", never.id).stdout
    assert not often.profile.exists()
    # a save that was asked for while step 6 was being written came after it, and step 6 is what it was
    saved = list(often.read_events())
    order = [(record["event"], record["step"]) for record in saved if record["event"] in ("train", "checkpoint")]
    assert [step for event, step in order if event == "checkpoint"] == list(range(2, 21, 2))
    assert order.index(("train", 7)) < order.index(("checkpoint", 6)) < order.index(("train", 9))
    facts = next(record for record in saved if (record["event"], record["step"]) == ("checkpoint", 6))
    assert facts["stalled_s"] > 0 and facts["written_s"] > 0.5
    at_6 = next(record for record in records(often, "train") if record["step"] == 6)
    state = read_json(often.checkpoints / "step-00000006" / "state.json")["state"]
    assert {key: state[key] for key in ("step", "tokens", "samples")} == {
        key: at_6[key] for key in ("step", "tokens", "samples")
    }


def assert_profiled(run: RunDir, *, first: int, last: int) -> None:
    """A trace of the steps, a table, and both said; that the numbers are those of a run that watched nothing has been
    compared."""
    (said,) = [record for record in run.read_events() if record["event"] == "profile"]
    assert (said["step"], said["first"], said["last"]) == (last, first, last)
    table = (run.path / said["table"]).read_text(encoding="utf-8").splitlines()
    assert table[0].startswith(f"Steps {first} to {last} of rank 0: ")
    top = [operator["name"] for operator in said["top"]]
    assert len(top) == 10 and "aten::mm" in top
    assert [line.split()[-1] for line in table[3:13] if "aten::" in line] == [one for one in top if "aten::" in one]
    with gzip.open(run.path / said["trace"], "rt", encoding="utf-8") as file:
        names = [call.get("name") for call in json.load(file)["traceEvents"]]
    # two layers of four matrices forward, micro batches of 4 out of 8
    micro_batches = 2 * (last - first + 1)
    assert names.count("aten::addmm") == 2 * 4 * micro_batches
    # no table of zeros for the rows that a tied embedding looked up, but for the positions'
    assert (
        names.count("aten::embedding_sparse_backward") == names.count("aten::embedding_dense_backward") == micro_batches
    )
    assert sorted(path.name for path in run.profile.iterdir()) == [
        f"steps-{first}-{last}{s}" for s in (".json.gz", ".txt")
    ]


def test_sigterm_while_a_checkpoint_is_being_written_ends_with_that_one_and_its_own(bench: Bench) -> None:
    run = bench.start("training.length=2000 steps", "evaluation.best=null", env=hold("checkpoint-before-manifest@7", 2))
    bench.reach(run, 7)
    os.kill(read_json(run.handle)["pid"], signal.SIGTERM)
    wait_until(lambda: read_json(run.status)["state"] == "preempted", within_s=60, what="it to be preempted")
    said = run.attempt(1).read_exit()
    folders = folders_in(run.checkpoints)
    assert said is not None and {7, said.step} <= set(folders)
    assert run.latest.read_text() == f"step-{said.step:08d}\n"
    assert not [fault for folder in folders.values() for fault in damage(folder)]


def test_a_disk_that_is_full_stops_the_job_at_a_step_and_is_said(bench: Bench) -> None:
    """A limit on the size of files stands for the full disk; the model is larger than that, all else is smaller."""
    sets = flags(("model.init.hidden_size=128", "training.length=2000 steps", "evaluation.best=null"))
    argv = ["bash", "-c", 'ulimit -f 1000; exec runjob "$@"', "_", str(bench.job), *sets, "--detach"]
    done = subprocess.run(argv, env=bench.home.env, cwd=bench.home.path, capture_output=True, text=True, check=True)
    run = RunDir(bench.home.runs / done.stdout.splitlines()[0])
    wait_until(lambda: read_json(run.status)["state"] == "failed", within_s=60, what="it to fail")
    said = run.attempt(1).read_exit()
    assert said is not None and "step 7 can't be written" in said.error and "File too large" in said.error
    assert (said.code, said.reason) == (1, "CheckpointError")
    # not at 14, the next save, nor at once: when the thread has failed
    assert 7 <= said.step < 14
    assert folders_in(run.checkpoints) == {}
    assert bench.why(run)["class"] == "disk"
    assert bench.why(run)["change"] == "training:\n  checkpoint:\n    keep: 1  # now 2; each is as large as the next"


def test_stopping_twice_on_the_way_changes_nothing(bench: Bench, straight: Straight) -> None:
    # the stop comes while step 5, the best so far, is being written
    paused = bench.submit("training.stop_after=6 steps", expect=75, env=hold("checkpoint-before-manifest@5", 0.5))
    assert set(folders_in(paused.checkpoints)) == {5, 6}
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
