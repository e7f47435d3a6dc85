"""Companions: processes beside the stages, with real programs in their place."""

import dataclasses
import json
import os
import signal
from pathlib import Path

from runjob.launchers.local import LocalLauncher
from runjob.schemas.plan import Companion, Plan
from runjob.schemas.run import Attempt, RunDir
from tests.conftest import wait_until
from tests.launchers.helpers import is_alive, make_plan, make_run, wait_for_state

PROGRAM = Path(__file__).with_name("companion_program.py")


def start(home: Path, train: str, what: str, *, finish_s: int, prepare: str | None = None) -> tuple[RunDir, Attempt]:
    companion = Companion(
        name="spot_notice", argv=("{python}", str(PROGRAM), what, "{run}"), env={"A": "b"}, finish_s=finish_s
    )
    plan = dataclasses.replace(make_plan(train, prepare=prepare), companions=(companion,))
    assert Plan.from_json(plan.to_json()) == plan
    run, attempt = make_run(home, plan)
    LocalLauncher().submit(run, plan, attempt)
    return run, attempt


def pids(run: RunDir) -> list[int]:
    file = run.path / "companion-starts.txt"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_companion_runs_through_all_stages_and_is_told_how_they_ended(tmp_path):
    run, _ = start(tmp_path, "leave-a-child", "finish", finish_s=20, prepare="nothing")
    assert wait_for_state(run, "finished", "failed").state == "finished"
    [pid] = pids(run)  # the end of `prepare`, and of the child that `train` left, were not its own
    assert not is_alive(pid)
    said = json.loads((run.path / "companion-end.json").read_text())
    assert (said["state"], said["message"]) == ("finished", "left a child behind")
    assert not is_alive(int((run.path / "sleeper.pid").read_text()))


def test_a_companion_that_died_is_started_again_for_what_is_left_to_do(tmp_path):
    run, _ = start(tmp_path, "finish", "die-once", finish_s=20)
    assert wait_for_state(run, "finished", "failed").state == "finished"
    assert len(pids(run)) == 2
    assert (run.path / "companion-end.json").exists()


def test_a_companion_with_nothing_left_to_do_ends_with_the_stages(tmp_path):
    run, attempt = start(tmp_path, "finish", "deaf", finish_s=0)
    assert wait_for_state(run, "finished", "failed", within_s=5).state == "finished"
    assert [is_alive(pid) for pid in pids(run)] == [False]
    assert not attempt.ending.exists()


def test_a_companion_dies_with_a_killed_supervisor(tmp_path):
    run, _ = start(tmp_path, "long", "deaf", finish_s=60)
    wait_until(lambda: bool(pids(run)), what="the companion to begin")
    os.kill(json.loads(run.handle.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(pids(run)[0]), what="the companion to end")


def test_a_second_cancel_does_not_wait_for_a_companion(tmp_path):
    run, attempt = start(tmp_path, "finish", "deaf", finish_s=600)
    wait_until(attempt.ending.exists, what="the stages to end")
    assert wait_for_state(run, "stopping").message == "uploading what is left"
    LocalLauncher().cancel(run, attempt)
    status = wait_for_state(run, "finished", within_s=5)
    assert status.message == "all steps done"
    assert not is_alive(pids(run)[0])


def test_a_companion_may_ask_for_a_stop_and_status_says_why(tmp_path):
    run, _ = start(tmp_path, "long", "stop", finish_s=0)
    status = wait_for_state(run, "preempted", "failed")
    assert (status.state, status.message) == ("preempted", "spot interruption at noon; saved")
    assert len(pids(run)) == 1  # it ended by itself with 0: there is no reason to start it again
