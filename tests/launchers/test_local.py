"""The local launcher and its supervisor, through real processes."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runjob.launchers.local import LocalLauncher
from runjob.launchers.logs import tail
from runjob.launchers.programs import OPEN_FILES
from runjob.runner.why.classify import classify
from runjob.runner.why.traces import gather
from runjob.schemas.ended import read_ended
from runjob.schemas.errors import LaunchError
from runjob.schemas.processes import descendants
from runjob.schemas.run import RunDir, write_json
from tests.conftest import rewrite, wait_until
from tests.launchers.helpers import is_alive, make_plan, make_run, start, steps_done, wait_for_state

LAUNCHER = LocalLauncher()


def supervisor_pid(run: RunDir) -> int:
    return json.loads(run.handle.read_text())["pid"]


def wait_for_step(run: RunDir, step: int) -> None:
    wait_until(lambda: steps_done(run) >= step, what=f"step {step}")


def test_stages_run_one_after_another_and_the_outcome_is_what_rank_0_said(tmp_path: Path):
    run, attempt = start(tmp_path, "finish", prepare="nothing")
    status = wait_for_state(run, "finished")
    assert (status.message, status.attempt) == ("all steps done", 1)
    assert attempt.stage_log("prepare").read_text() == "prepared\n"
    assert steps_done(run) == 3


def test_a_stage_gets_the_plans_environment_and_the_users_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNJOB_CACHE", "cache")
    run, _ = start(tmp_path, "environment")
    wait_for_state(run, "finished")
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["FROM_PLAN"] == "a b'c"
    assert environment["RUNJOB_ATTEMPT"] == "1"
    assert environment["RUNJOB_CACHE"] == str(tmp_path / "cache")
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(run.code)
    assert environment["PYTHONSAFEPATH"] == "1"


def test_a_stage_may_open_more_files_than_the_users_shell_allows(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        run, _ = start(tmp_path, "environment")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for_state(run, "finished")
    found = json.loads((run.path / "environment.json").read_text())["open files"]
    assert found == (OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES))


def test_kill_9_of_the_supervisor_is_lost_and_leaves_no_orphan(tmp_path: Path):
    run, _ = start(tmp_path, "long-with-child")
    wait_for_step(run, 2)
    pid = supervisor_pid(run)
    below = [process.pid for process in descendants(pid)]
    sleeper = int((run.path / "sleeper.pid").read_text())
    assert len(below) == 2
    assert sleeper in below
    os.kill(pid, signal.SIGKILL)
    status = wait_for_state(run, "lost", within_s=5)
    assert f"pid {pid}" in status.message
    assert "last seen at 20" in status.message
    wait_until(lambda: not any(map(is_alive, below)), what="no orphan", within_s=5)
    assert run.read_status().state == "running", "lost is computed, never stored"


def test_a_stage_that_knows_nothing_of_us_dies_with_the_supervisor_too(tmp_path: Path):
    plan = make_plan("nothing")
    (stage,) = plan.stages
    plan = dataclasses.replace(plan, stages=(dataclasses.replace(stage, argv=("sleep", "600")),))
    run, attempt = make_run(tmp_path, plan)
    LAUNCHER.submit(run, plan, attempt)
    pid = supervisor_pid(run)
    wait_until(lambda: bool(descendants(pid)), what="the stage")
    (sleep,) = [process.pid for process in descendants(pid)]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(sleep), what="its end", within_s=5)


def test_cancel_lets_the_job_save_and_then_it_is_cancelled(tmp_path: Path):
    run, attempt = start(tmp_path, "long")
    wait_for_step(run, 2)
    LAUNCHER.cancel(run, attempt)
    status = wait_for_state(run, "cancelled", within_s=5)
    assert status.message == "saved"
    assert attempt.read_exit().step == steps_done(run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_is_a_preemption(tmp_path: Path, number: signal.Signals):
    run, _ = start(tmp_path, "long")
    wait_for_step(run, 2)
    os.kill(supervisor_pid(run), number)
    assert wait_for_state(run, "preempted", "failed", within_s=5).state == "preempted"


def test_cancel_in_a_stage_before_train_ends_it_at_once(tmp_path: Path):
    run, attempt = start(tmp_path, "finish", prepare="sleep")
    wait_for_step(run, 1)
    LAUNCHER.cancel(run, attempt)
    assert "in stage prepare" in wait_for_state(run, "cancelled", within_s=4).message
    assert not attempt.stage_log("train").exists()


def test_a_deaf_stage_is_killed_when_its_time_to_save_is_over(tmp_path: Path):
    run, attempt = start(tmp_path, "deaf", stop_deadline_s=1)
    wait_for_step(run, 1)
    below = [process.pid for process in descendants(supervisor_pid(run))]
    LAUNCHER.cancel(run, attempt)
    wait_for_state(run, "stopping", within_s=3)
    status = wait_for_state(run, "cancelled", within_s=12)
    assert "without saving" in status.message
    assert "signal 9 (SIGKILL)" in status.message
    assert not any(map(is_alive, below))


def test_a_job_that_does_not_save_when_preempted_has_failed(tmp_path: Path):
    run, _ = start(tmp_path, "deaf", stop_deadline_s=0)
    wait_for_step(run, 1)
    os.kill(supervisor_pid(run), signal.SIGTERM)
    assert "did not save" in wait_for_state(run, "failed", within_s=12).message
    ended = read_ended(run.attempt(1).ended)
    assert ended is not None and ended.stages[-1].ended_by == "asked to stop, and did not"
    found = classify(gather(run, run.attempt(1), run.read_status()))
    assert found is not None and found.kind == "preempted"  # by its own supervisor, and not killed by a stranger


def test_kill_9_of_the_stage_is_a_failure_that_names_the_signal(tmp_path: Path):
    run, _ = start(tmp_path, "kill-me")
    assert "signal 9 (SIGKILL)" in wait_for_state(run, "failed").message


def test_kill_9_of_a_rank_below_torchrun_is_named_and_leaves_no_other_rank(tmp_path: Path):
    plan = make_plan("rank")
    (stage,) = plan.stages
    torchrun = ("{python}", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    plan = dataclasses.replace(plan, stages=(dataclasses.replace(stage, argv=(*torchrun, *stage.argv[1:])),))
    run, attempt = make_run(tmp_path, plan)
    LAUNCHER.submit(run, plan, attempt)
    ranks = [run.path / f"rank-{rank}.pid" for rank in range(2)]
    wait_until(lambda: all(path.exists() for path in ranks), what="two ranks", within_s=60)
    pids = [int(path.read_text()) for path in ranks]
    os.kill(pids[1], signal.SIGKILL)
    assert wait_for_state(run, "failed", within_s=30).message.startswith("rank 1 was ended by signal 9 (SIGKILL); ")
    assert not any(map(is_alive, pids))


def test_a_stage_that_ends_without_a_word_has_failed_even_with_code_0(tmp_path: Path):
    run, _ = start(tmp_path, "nothing")
    assert "left no exit.json" in wait_for_state(run, "failed").message


def test_a_failed_prepare_stops_the_job_before_training(tmp_path: Path):
    run, attempt = start(tmp_path, "finish", prepare="crash")
    assert "stage prepare ended with code 3" in wait_for_state(run, "failed").message
    assert not attempt.stage_log("train").exists()


def test_the_error_of_rank_0_stands_in_the_status(tmp_path: Path):
    run, _ = start(tmp_path, "fail")
    assert wait_for_state(run, "failed").message == "ValueError: the loss is NaN at step 2"


def test_a_damaged_exit_file_is_a_failure_not_a_crash_of_the_supervisor(tmp_path: Path):
    run, attempt = make_run(tmp_path, make_plan("nothing"))
    attempt.exit.write_text("{half")
    LAUNCHER.submit(run, make_plan("nothing"), attempt)
    assert "exit.json: can't be read" in wait_for_state(run, "failed").message


def test_what_a_stage_leaves_running_is_killed_at_its_end(tmp_path: Path):
    run, attempt = start(tmp_path, "leave-a-child")
    assert wait_for_state(run, "finished").message == "left a child behind"
    assert not is_alive(int((run.path / "sleeper.pid").read_text()))
    wait_until(lambda: "finished: left" in attempt.supervisor_log.read_text(), what="last line of the log")


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    (stage,) = json.loads(run.plan.read_text())["stages"]
    rewrite(run.plan, stages=[{**stage, "argv": ["/nowhere/python", *stage["argv"][1:]]}])
    LAUNCHER.submit(run, make_plan("finish"), attempt)
    assert "could not be started" in wait_for_state(run, "failed").message
    assert "/nowhere/python" in attempt.supervisor_log.read_text()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_job_outlives_the_terminal_and_the_command_that_started_it(tmp_path: Path, number: signal.Signals):
    run, attempt = make_run(tmp_path, make_plan("long"))
    program = (
        "import os, sys, signal; from pathlib import Path\n"
        "from runjob.launchers.local import LocalLauncher\n"
        "from runjob.schemas.plan import Plan; from runjob.schemas.run import RunDir\n"
        "run = RunDir(Path(sys.argv[1]))\n"
        "LocalLauncher().submit(run, Plan.read(run.plan), run.attempt(1))\n"
        "signal.signal(int(sys.argv[2]), signal.SIG_DFL)\n"
        "os.killpg(0, int(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run.path), str(int(number))], start_new_session=True)
    assert done.returncode == -number
    os.kill(supervisor_pid(run), signal.SIGHUP)
    before = steps_done(run)
    wait_for_step(run, before + 3)
    assert LAUNCHER.state(run).state == "running"
    LAUNCHER.cancel(run, attempt)
    wait_for_state(run, "cancelled")


def test_a_second_supervisor_of_the_same_attempt_refuses(tmp_path: Path):
    run, attempt = start(tmp_path, "long")
    wait_for_step(run, 1)
    with pytest.raises(LaunchError, match=r"refused: status.json says running"):
        run.handle.unlink()
        LAUNCHER.submit(run, make_plan("long"), attempt)
    attempt.request_stop("cancel")
    wait_until(lambda: run.read_status().state == "cancelled", what="cancelled")


def test_a_handle_of_another_machine_is_unreachable_and_of_an_earlier_boot_is_lost(tmp_path: Path):
    run, attempt = start(tmp_path, "long")
    wait_for_step(run, 1)
    handle = json.loads(run.handle.read_text())
    rewrite(run.handle, host="elsewhere", boot_id="another")
    status = LAUNCHER.state(run)
    assert status.state == "unreachable"
    assert "elsewhere" in status.message
    write_json(run.handle, handle)
    rewrite(run.handle, boot_id="another")
    assert LAUNCHER.state(run).state == "lost"
    write_json(run.handle, handle)
    rewrite(run.handle, start_time=handle["start_time"] + 1)
    assert LAUNCHER.state(run).state == "lost", "the pid was given to another process"
    write_json(run.handle, handle)
    rewrite(run.handle, process_namespace="pid:[1]")
    assert LAUNCHER.state(run).state == "unreachable", "another container on the same host"
    write_json(run.handle, handle)
    LAUNCHER.cancel(run, attempt)
    wait_for_state(run, "cancelled")


def test_an_attempt_that_another_has_taken_over_ends_and_writes_nothing_more(tmp_path: Path):
    run, _ = start(tmp_path, "long-with-child")
    wait_for_step(run, 2)
    pid = supervisor_pid(run)
    below = [process.pid for process in descendants(pid)]
    later = run.new_attempt()
    run.write_status("pending", attempt=later.number)
    wait_until(lambda: not any(map(is_alive, [pid, *below])), what="the end of the first attempt", within_s=5)
    assert (run.read_status().state, run.read_status().attempt) == ("pending", 2)


def test_a_submission_without_a_supervisor_is_pending_for_a_moment_and_then_lost(tmp_path: Path):
    run, _ = make_run(tmp_path, make_plan("finish"))
    assert LAUNCHER.state(run).state == "pending"
    rewrite(run.status, updated=time.time() - 60)
    assert LAUNCHER.state(run).state == "lost"


def test_the_supervisor_shows_that_it_lives(tmp_path: Path):
    run, attempt = start(tmp_path, "long")
    wait_for_step(run, 1)
    first = run.read_status().updated
    wait_until(lambda: run.read_status().updated > first, what="a heartbeat", within_s=8)
    LAUNCHER.cancel(run, attempt)
    wait_for_state(run, "cancelled")


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n} {'x' * 30}\n" for n in range(10_000)))
    assert [line.split()[1] for line in tail(log, 2).splitlines()] == ["9998", "9999"]
    assert tail(tmp_path / "none", 2) == ""
