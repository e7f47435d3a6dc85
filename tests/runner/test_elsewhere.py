"""The same commands on a launcher that works elsewhere: a third party's package, installed as pip installs it, that
runs jobs in a copy of their directory under $NEXTDOOR (tests/launchers/nextdoor). Small programs stand for training."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runjob.launchers.base import Handle, StoppedError, read_handle, teller
from runjob.launchers.handover import hand_over, held_by
from runjob.launchers.place import as_submitter, own_place
from runjob.launchers.staging import was_given_up
from runjob.runner.cancel import cancel
from runjob.runner.compile import compile_job
from runjob.runner.lock import locked
from runjob.runner.moving import as_seen_there
from runjob.runner.submit import launch
from runjob.schemas.errors import StateError
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, write_json
from tests.conftest import ROOT, rewrite

THERE = ("--launcher", "small-nextdoor")


@pytest.fixture
def small(runjob, env, processes) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return runjob(*arguments, env={**env, "SMALL": program}, timeout_s=60)

    return run


@pytest.fixture
def running(small, job, only_run, wait_until) -> Path:
    """A job that does its steps next door."""
    done = small("long", *THERE, job, "--detach")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: status_of(small)["step"] is not None, within_s=20, what="a step")
    return only_run()


def status_of(small) -> dict:
    return json.loads(small("", "status", "latest", "--json").stdout)


def kill_there(nextdoor: Path, run: Path) -> None:
    os.kill(json.loads((nextdoor / "runs" / run.name / "handle.json").read_text())["pid"], signal.SIGKILL)


def losses(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if record["event"] == "train"}


def test_a_job_runs_there_is_followed_here_and_leaves_its_model_here(small, job, only_run, nextdoor):
    done = small("exact", *THERE, job)
    assert done.returncode == 0, done.stderr
    run = only_run()
    there = nextdoor / "runs" / run.name
    assert done.stdout.splitlines()[0] == run.name
    assert "step 20/20  eval  loss" in done.stdout
    assert "fetching model" in done.stderr
    for name in ("events.jsonl", "progress.json", "model/model.safetensors", "attempts/1/exit.json"):
        assert (run / name).read_bytes() == (there / name).read_bytes(), name
    assert [path.name for path in run.glob("checkpoints/step-*")] == ["step-00000020"]
    (row,) = json.loads(small("", "ps", "--json").stdout)
    assert (row["state"], row["launcher"], row["step"]) == ("finished", "nextdoor", 20)


def test_what_a_detached_job_made_comes_home_by_fetch(small, job, only_run, wait_until):
    small("exact", *THERE, job, "--detach")
    run = only_run()
    wait_until(lambda: status_of(small)["state"] == "finished", within_s=20, what="the end")
    for command in (("generate", "latest", "--prompt", "x"), ("export", "latest", "--step", "latest", "--to", "out")):
        early = small("", *command)
        assert (early.returncode, f"`runjob fetch {run.name}`" in early.stderr) == (2, True), early.stderr
    fetched = small("", "fetch", "latest")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout == f"here now: checkpoints 20; model {run / 'model'}\n"


def test_nothing_is_to_be_fetched_of_a_job_of_this_machine(small, job, only_run):
    small("exact", "--launcher", "small", job)
    done = small("", "fetch", "latest")
    assert (done.returncode, str(only_run()) in done.stdout) == (0, True)


def test_the_plan_is_compiled_for_the_machine_that_was_surveyed(small, job, only_run, nextdoor):
    (nextdoor / "machine.json").write_text(json.dumps({"cores": 6, "gpus": [], "processor": "Other CPU"}))
    small("exact", *THERE, job, "--set", "hardware.threads=null")
    assert json.loads((only_run() / "plan.json").read_text())["resources"]["threads"] == 6


def test_a_place_that_is_not_there_is_found_before_anything_is_made(small, job, home, nextdoor):
    nextdoor.rmdir()
    done = small("exact", *THERE, job)
    assert (done.returncode, "NEXTDOOR names the one to run in" in done.stderr) == (2, True), done.stderr
    assert list(home.runs.iterdir()) == []


def test_what_the_job_takes_along_is_missed_here(small, job, home):
    (home.path / "text.txt").unlink()
    done = small("exact", *THERE, job)
    assert (done.returncode, "small.yaml:5:9: data.path" in done.stderr) == (2, True), done.stderr
    assert list(home.runs.iterdir()) == []


def test_a_place_that_ends_before_the_job_warns_or_refuses_by_the_steps_that_are_left(small, job, home, nextdoor):
    lives = nextdoor / "lives"
    lives.write_text("0")
    refused = small("exact", *THERE, job)
    assert (refused.returncode, "20 steps are left, and " in refused.stderr) == (2, True), refused.stderr
    assert list(home.runs.iterdir()) == []
    lives.write_text("8")
    done = small("exact", *THERE, job)
    assert (done.returncode, f"20 steps are left, and {nextdoor} makes 8\n" in done.stderr) == (0, True), done.stderr
    longer = small("nothing", "resume", "latest", *THERE, "--set", "training.length=35 steps", "--detach")
    assert (longer.returncode, f"\n15 steps are left, and {nextdoor} makes 8\n" in longer.stdout) == (0, True)


def test_a_copy_that_can_not_be_made_is_a_failed_job_and_a_message(small, job, only_run, nextdoor):
    (nextdoor / "runs").write_text("not a folder")
    done = small("exact", *THERE, job)
    assert done.returncode == 1
    assert f"{only_run().name}: can't be copied to" in done.stderr
    assert "Traceback" not in done.stderr
    assert status_of(small)["state"] == "failed"


def test_plan_shows_what_the_launcher_would_ask_for(small, job, nextdoor):
    assert small("", "plan", job, *THERE).stdout.endswith(f"\n--launcher small-nextdoor\ncp -r RUN {nextdoor}/runs\n")
    assert json.loads(small("", "plan", job, "--json").stdout)["preview"] is None
    free = small("", "plan", job, *THERE, "--set", "hardware.threads=null").stdout
    assert "unknown        threads a rank: shown for the cores of this machine; small-nextdoor is asked" in free


@pytest.mark.parametrize(
    ("launcher", "example"),
    [("slurm", "{partition: gpu, "), ("ssh", "{host: gpu-box"), ("aws", "{instance: g5.12xlarge, ")],
)
def test_an_order_without_its_block_says_where_to_write_what(small, job, home, launcher, example):
    done = small("exact", "--launcher", launcher, job)
    said = f"missing, and --launcher {launcher} goes by it; write `{launcher}: {example}"
    assert done.returncode == 2
    assert done.stderr.startswith(f"{job}:18:20: hardware.{launcher}: {said}"), done.stderr
    assert done.stderr.endswith(f" here or in {home.env['XDG_CONFIG_HOME']}/runjob/site.yaml\n")
    assert list(home.runs.iterdir()) == []


def test_a_job_moves_next_door_and_back_and_equals_one_that_stayed(small, job, home, nextdoor, wait_until, processes):
    def reached(run: Path, step: int) -> Callable[[], bool]:
        file = run / "progress.json"
        return lambda: file.exists() and json.loads(file.read_text())["step"] >= step

    small("exact", "--launcher", "small", job)
    (straight,) = home.runs.iterdir()
    started = small("exact", "--launcher", "small", job, "--detach").stdout.splitlines()[0]
    moved = home.runs / started
    wait_until(reached(moved, 6), within_s=20, what="step 6 here")
    processes.kill(json.loads((moved / "handle.json").read_text())["pid"])
    there = small("exact", "resume", started, *THERE, "--detach")
    assert there.returncode == 0, there.stderr
    first = json.loads((moved / "attempts" / "2" / "resume.json").read_text())
    (saved,) = re.findall(r"goes on from the checkpoint of step (5|10)$", there.stdout, re.M)
    assert first == {"from": "latest", "step": int(saved), "after": "lost"}
    wait_until(reached(nextdoor / "runs" / started, 12), within_s=20, what="step 12 there")
    kill_there(nextdoor, moved)
    back = small("exact", "resume", started, "--launcher", "small")
    assert back.returncode == 0, back.stderr
    (step,) = re.findall(r"^fetching checkpoints/step-000000(10|15)$", back.stderr, re.M)
    assert f"goes on from the checkpoint of step {step}" in back.stdout
    assert losses(moved) == losses(straight)
    assert (moved / "model/model.safetensors").read_text() == (straight / "model/model.safetensors").read_text()
    kept = [json.loads((moved / "attempts" / str(number) / "handle.json").read_text()) for number in (1, 2)]
    assert [handle["launcher"] for handle in kept] == ["local", "nextdoor"]


def test_a_place_out_of_reach_is_said_and_comes_back_by_itself(small, running: Path, nextdoor, processes, env):
    follower = processes.start("runjob", "logs", "-f", "latest", env=env)
    (nextdoor / "away").touch()
    row = status_of(small)
    assert (row["state"], "is away" in row["message"], "last sign" in row["message"]) == ("unreachable", True, True)
    assert f"to give that place up: runjob resume {running.name} --accept" in small("", "why", "latest").stdout
    asked = small("", "cancel", "latest")
    assert (asked.returncode, f"once it can be reached: runjob cancel {running.name}" in asked.stdout) == (0, True)
    assert small("", "resume", "latest", *THERE).returncode == 2
    assert follower.poll() is None
    (nextdoor / "away").unlink()
    assert status_of(small)["state"] == "running"
    assert "is cancelled: saved" in small("", "cancel", "latest").stdout
    steps = [line for line in follower.stdout.read().splitlines() if line.startswith("step ")]
    assert follower.wait(timeout=20) == 0
    assert len(steps) == len(set(steps)) == status_of(small)["step"]


def test_nothing_is_taken_back_from_a_place_that_was_given_up(small, job, only_run, nextdoor, wait_until):
    """It goes on there all the while, and everybody looks."""
    small("long", *THERE, job, "--detach")
    run = only_run()
    there = nextdoor / "runs" / run.name
    wait_until(lambda: (status_of(small)["step"] or 0) >= 3, within_s=20, what="steps there")
    old = read_handle(RunDir(run))
    (nextdoor / "away").touch()
    refused = small("exact", "resume", "latest", "--launcher", "small")
    assert (refused.returncode, "--accept" in refused.stderr) == (2, True)
    taken = small("exact", "resume", "latest", "--launcher", "small", "--accept")
    assert taken.returncode == 0, taken.stderr
    assert "no checkpoint is here; what was done after that there is given up" in taken.stdout
    assert was_given_up(RunDir(run).attempt(2)), "nor where the job goes back to that very copy"
    (nextdoor / "away").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    steps = len((there / "events.jsonl").read_text().splitlines())
    wait_until(lambda: len((there / "events.jsonl").read_text().splitlines()) > steps, within_s=10, what="a step there")
    for command in (("ps",), ("status", "latest"), ("logs", "latest"), ("why", "latest"), ("fetch", "latest")):
        assert small("", *command).returncode == 0
    with held_by(RunDir(run), old) as ours:
        assert not ours
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert sorted(losses(run)) == list(range(1, 21))
    kill_there(nextdoor, run)


def test_a_job_is_given_from_hand_to_hand_while_nobody_writes(tmp_path: Path):
    run = RunDir.create(tmp_path, "moved")
    old = Handle(launcher="one", attempt=1, facts={"host": "a"})
    old.write(run)
    with held_by(run, old) as ours:
        assert ours
    hand_over(run, dataclasses.replace(old, attempt=2, facts={}))
    with held_by(run, old) as ours:
        assert not ours


def test_a_silent_host_holds_up_neither_ps_nor_the_other_jobs(small, running: Path, home, nextdoor):
    """Fifty jobs that are with it, and one of this machine."""
    fine = small("exact", "--launcher", "small", home.path / "small.yaml").stdout.splitlines()[0]
    for number in range(50):
        twin = RunDir.create(home.runs, "twin")
        twin.write_status("running", attempt=1)
        Handle(launcher="nextdoor", attempt=1, facts={"directory": str(number)}).write(twin)
    (nextdoor / "silent").touch()
    began = time.monotonic()
    rows = json.loads(small("", "ps", "--json").stdout)
    took = time.monotonic() - began
    (nextdoor / "silent").unlink()
    assert took < 8, took
    states = {row["id"]: row["state"] for row in rows}
    assert states.pop(fine) == "finished"
    assert set(states.values()) == {"unreachable"}
    assert all("gave no answer within 5 s" in row["message"] for row in rows if row["state"] == "unreachable")


def test_a_follower_goes_on_over_attempts_that_the_place_makes_itself(small, job, only_run, nextdoor, processes, env):
    """As a queue that takes a job back and starts it again: from stopping to pending of the next attempt."""
    small("finish", *THERE, job)
    here = RunDir(only_run())
    there = RunDir(nextdoor / "runs" / here.id)
    Handle(launcher="local", attempt=1, facts=own_place()).write(there)  # this process stands for the supervisor
    there.write_status("running", attempt=1)
    here.write_status("running", attempt=1)
    looking = processes.start("runjob", "logs", "-f", "latest", env=env)
    first = [looking.stdout.readline() for _ in range(3)]
    add_steps(there, 1, 4, 5)
    there.write_status("stopping", attempt=1)
    there.attempt(1).rank_log(0).write_text("last words of the first\n")
    there.new_attempt()
    there.write_status("pending", attempt=2, message="requeued")
    Handle(launcher="local", attempt=2, facts=own_place()).write(there)
    add_steps(there, 2, 6, 7)
    there.attempt(2).rank_log(0).write_text("words of the second\n")
    there.write_status("running", attempt=2)
    there.model.mkdir(exist_ok=True)
    there.model.joinpath("made-meanwhile").touch()
    there.write_status("finished", attempt=2)
    rest = looking.stdout.read().splitlines()
    assert looking.wait(timeout=20) == 0
    assert [line.split()[1] for line in first] == ["1/20", "2/20", "3/20"]
    assert (here.model / "made-meanwhile").exists(), "what ended before one's eyes comes home"
    assert [line.split()[1] for line in rest if line.startswith("step")] == ["4/20", "5/20", "6/20", "7/20"]
    assert [line for line in rest if "words" in line] == ["last words of the first", "words of the second"]


def add_steps(run: RunDir, attempt: int, *steps: int) -> None:
    with run.events.open("a") as events:
        for step in steps:
            record = {"event": "train", "step": step, "loss": 1.0, "time": time.time(), "attempt": attempt}
            events.write(json.dumps(record) + "\n")


def test_a_submission_that_was_killed_before_anything_was_started_is_lost(small, home):
    run = RunDir.create(home.runs, "early")
    run.new_attempt()
    hand_over(run, Handle(launcher="nextdoor", attempt=1, facts={}))
    run.write_status("pending", attempt=1)
    assert status_of(small)["state"] == "pending"
    asked = small("", "cancel", "latest", "--no-wait")
    assert (asked.returncode, "is being submitted; it stops as soon as it starts" in asked.stdout) == (0, True)
    rewrite(run.status, updated=time.time() - 60)
    row = status_of(small)
    assert (row["state"], row["launcher"], "never started" in row["message"]) == ("lost", "nextdoor", True)


def test_a_cancel_is_left_for_a_submission_that_takes_its_time(tmp_path: Path):
    """It holds the run until something runs there."""
    run = RunDir.create(tmp_path, "early")
    attempt = run.new_attempt()
    hand_over(run, Handle(launcher="ssh", attempt=1, facts={"host": "gpu-box", **as_submitter()}))
    run.write_status("pending", attempt=1, message="sending the run to gpu-box")
    with locked(run, patience_s=0.0):
        assert "is being submitted; it stops as soon as it starts" in cancel(run)
    assert attempt.stop_reason() == "cancel"
    with pytest.raises(StoppedError):
        teller(run, attempt)("starting")
    gone = {**own_place(), "start_time": 1}
    Handle(launcher="local", attempt=1, facts=gone).write(run)  # lost, and somebody is about to resume it
    run.write_status("running", attempt=1)
    with locked(run, patience_s=0.0), pytest.raises(StateError, match="by somebody else"):
        cancel(run)


def test_a_cancel_between_two_steps_of_a_submission_is_no_failure(tmp_path: Path):
    resolved = read_job(ROOT / "jobs" / "gpt2_dutch_medium.yaml", ["hardware.slurm.partition=gpu"])
    run = RunDir.create(tmp_path, "early")
    write_job_json(run.job, resolved)
    attempt = run.new_attempt()
    attempt.request_stop("cancel")
    plan = compile_job(resolved.job, Machine(cores=64, gpus=("a100",) * 4, processor=""))
    launch(run, plan, attempt, launcher="slurm")
    assert (run.read_status().state, run.read_status().message) == ("cancelled", "cancelled before it started")


def test_the_best_checkpoint_is_named_before_an_attempt_is_made(tmp_path: Path):
    run = RunDir.create(tmp_path, "early")
    folder = run.checkpoints / "step-00000020"
    folder.mkdir()
    (folder / "manifest.json").touch()
    for best, step in (({"step": 10}, 10), (None, None)):
        write_json(folder / "state.json", {"state": {"best": best}})
        assert as_seen_there(run, "latest") == "latest"
        if step is None:
            with pytest.raises(StateError, match="has no best checkpoint yet"):
                as_seen_there(run, "best")
        else:
            assert as_seen_there(run, "best") == step


def test_verify_resume_kills_processes_of_this_machine_alone(small, job):
    done = small("exact", "verify-resume", job, *THERE)
    assert (done.returncode, "it kills processes of this machine" in done.stderr) == (2, True)


def test_the_entry_point_that_the_documentation_shows_is_the_packages():
    shown = (ROOT / "docs" / "launchers.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```toml\n(.*?)^```$", shown, re.M | re.S)
    assert lines in (ROOT / "tests" / "launchers" / "nextdoor" / "pyproject.toml").read_text(encoding="utf-8")
