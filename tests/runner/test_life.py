"""The life of a job through the real command line: submit, follow, look, cancel, kill, resume, verify."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from runjob.schemas.run import ID, RunDir
from tests.conftest import rewrite

LOCAL = ("--launcher", "small")


def pid_of(run: Path) -> int:
    return json.loads((run / "handle.json").read_text())["pid"]


def step_of(run: Path) -> int:
    progress = run / "progress.json"
    return json.loads(progress.read_text())["step"] if progress.exists() else 0


def test_verify_resume_that_is_interrupted_leaves_no_run_behind(home, plugin, processes, job, wait_until):
    command = processes.start("runjob", "verify-resume", job, *LOCAL, env={**plugin, "SMALL": "long"})
    wait_until(lambda: bool(list(home.runs.glob(".verify-*/*/progress.json"))), within_s=20, what="the first run")
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=20)
    assert command.returncode == 130
    # SIGKILL has been sent to all of it; the kernel takes a moment to end the last
    wait_until(lambda: processes.alive() == [], within_s=10, what="everything to end")


def test_a_submitted_job_says_its_id_first_follows_and_ends_with_0(small, job, only_run):
    done = small("exact", job, *LOCAL)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert ID.fullmatch(lines[0])
    assert lines[0] == only_run().name
    assert any(" --logdir " in line and line.endswith(f"{lines[0]}/tensorboard") for line in lines)
    assert "step 20/20  eval  loss" in done.stdout
    assert f"{lines[0]} is finished: all steps done" in lines
    assert done.stderr == ""


def test_the_run_directory_is_private_and_holds_job_plan_and_code(small, job, only_run):
    small("exact", *LOCAL, job, "--set", "training.length=10 steps")
    run = only_run()
    assert run.stat().st_mode & 0o777 == 0o700
    assert (run / "job.yaml").read_text() == job.read_text()
    written = json.loads((run / "job.json").read_text())
    assert written["job"]["training"]["length"] == "10 steps"
    assert written["origins"]["training.length"].startswith("--set")
    assert json.loads((run / "deepspeed.json").read_text())["train_batch_size"] == 8
    assert (run / "code" / "runjob" / "runner" / "cli.py").is_file()


@pytest.mark.parametrize(("program", "code", "state"), [("fail", 1, "failed"), ("pause", 75, "preempted")])
def test_the_exit_code_is_the_jobs_outcome(small, job, program: str, code: int, state: str):
    done = small(program, job, *LOCAL)
    assert done.returncode == code
    assert f" is {state}" in done.stdout
    assert "runjob resume small-" in done.stdout


def test_a_failure_shows_the_error_and_the_last_lines_of_the_log_and_no_traceback_of_ours(small, job):
    done = small("fail", job, *LOCAL)
    assert "ValueError: the loss is NaN at step 2" in done.stderr
    assert "the last words of the log" in done.stderr
    assert "runjob/runner" not in done.stderr


def test_ps_and_status_tell_of_a_running_job(small, job, running: Path):
    (row,) = json.loads(small("", "ps", "--json").stdout)
    assert (row["id"], row["state"], row["attempt"]) == (running.name, "running", 1)
    assert row["step"] >= 2
    assert running.name in small("", "ps").stdout
    for wanted in (running.name, running.name[:9], "latest", "small@latest"):
        status = json.loads(small("", "status", wanted, "--json").stdout)
        assert (status["id"], status["directory"]) == (running.name, str(running))


def test_cancel_saves_waits_and_says_so(small, running: Path):
    done = small("", "cancel", running.name)
    assert done.returncode == 0
    assert f"{running.name} is cancelled: saved" in done.stdout
    again = small("", "cancel", running.name)
    assert (again.returncode, "nothing to cancel" in again.stdout) == (0, True)


def test_a_preempted_job_that_is_cancelled_is_cancelled_for_good(small, job, only_run):
    small("pause", job, *LOCAL)
    assert small("", "cancel", "latest").returncode == 0
    assert json.loads((only_run() / "status.json").read_text())["state"] == "cancelled"


def test_interrupting_the_follower_without_a_terminal_detaches_and_the_job_goes_on(
    home, plugin, processes, job, only_run, wait_until
):
    env = {**plugin, "SMALL": "long"}
    follower = processes.start("runjob", *LOCAL, job, env=env)
    first = follower.stdout.readline().strip()
    run = only_run()
    assert first == run.name
    wait_until(lambda: step_of(run) >= 2, within_s=20, what="two steps")
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=20)
    assert follower.returncode == 0
    assert "detached" in err
    assert f"runjob logs -f {run.name}" in out
    before = step_of(run)
    wait_until(lambda: step_of(run) > before, within_s=5, what="another step")


def test_kill_9_of_the_supervisor_is_lost_and_resume_goes_on(small, running: Path, processes, wait_until):
    os.kill(pid_of(running), signal.SIGKILL)
    wait_until(lambda: not processes.alive(), within_s=5, what="no orphan")
    (row,) = json.loads(small("", "ps", "--json").stdout)
    assert row["state"] == "lost"
    reached = step_of(running)
    done = small("long", "resume", "latest", *LOCAL, "--detach")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == running.name
    assert "promised: " in done.stdout
    wait_until(lambda: step_of(running) > reached, within_s=20, what="a step more")
    assert json.loads((running / "status.json").read_text())["attempt"] == 2
    assert (running / "attempts" / "1" / "plan.json").exists()
    small("", "cancel", "latest")


def saved_at(run: Path, *steps: int) -> None:
    """Checkpoints, as far as `resume` looks into them."""
    for step in steps:
        folder = run / "checkpoints" / f"step-{step:08d}"
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")


def test_a_running_job_is_not_resumed(small, running: Path):
    done = small("long", "resume", running.name, *LOCAL)
    assert done.returncode == 2
    assert f"{running.name} is running" in done.stderr


def test_of_two_resumes_at_once_one_wins_and_the_other_says_so(small, job, processes, plugin, only_run):
    small("pause", job, *LOCAL)
    command = ("runjob", "resume", "latest", *LOCAL, "--detach")
    both = [processes.start(*command, env={**plugin, "SMALL": "long"}) for _ in range(2)]
    ended = sorted((process.communicate(timeout=60), process.returncode) for process in both)
    codes = sorted(code for _, code in ended)
    assert codes == [0, 2], ended
    loser = next(err for (_, err), code in ended if code == 2)
    assert "somebody else" in loser or "is pending" in loser or "is running" in loser
    assert [entry.name for entry in sorted((only_run() / "attempts").iterdir())] == ["1", "2"]
    small("", "cancel", "latest")


def test_a_resume_killed_before_it_handed_over_does_not_block_the_next(small, job, only_run):
    small("pause", job, *LOCAL)
    left = only_run() / "attempts" / "2"
    left.mkdir()
    early = small("exact", "resume", "latest", *LOCAL)
    assert (early.returncode, "attempt 2 exists" in early.stderr) == (2, True)
    os.utime(left, (1, 1))
    assert small("exact", "resume", "latest", *LOCAL).returncode == 0


def test_an_unreachable_job_goes_on_elsewhere_only_when_that_is_accepted(small, running: Path, wait_until, processes):
    handle = json.loads((running / "handle.json").read_text())
    rewrite(running / "handle.json", host="gpu7", boot_id="another")
    assert json.loads(small("", "status", "latest", "--json").stdout)["state"] == "unreachable"
    refused = small("long", "resume", "latest", *LOCAL)
    assert (refused.returncode, "gpu7" in refused.stderr, "--accept" in refused.stderr) == (2, True, True)
    taken = small("long", "resume", "latest", *LOCAL, "--accept", "--detach")
    assert taken.returncode == 0, taken.stderr
    wait_until(lambda: handle["pid"] not in processes.alive(), within_s=5, what="the old supervisor to give way")
    assert json.loads((running / "status.json").read_text())["attempt"] == 2
    small("", "cancel", "latest")


def test_a_submission_that_breaks_off_leaves_no_half_made_run(home, job):
    """A limit on the size of files stands for the full disk."""
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec runjob "$1" --detach', "_", str(job)],
        env=home.env,
        cwd=home.path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "a run directory can't be made" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(home.runs.iterdir()) == []


def test_watching_ends_with_the_job(small, job, running: Path, processes, plugin):
    watcher = processes.start("runjob", "status", "latest", "--watch")
    assert watcher.stdout.readline().split() == ["id", running.name]
    small("", "cancel", "latest")
    out, _ = watcher.communicate(timeout=20)
    assert "cancelled" in out
    assert watcher.returncode == 0


def test_a_finished_job_goes_on_only_with_a_longer_length(small, job):
    small("exact", job, *LOCAL)
    assert small("exact", "resume", "latest", *LOCAL).returncode == 2
    same = small("exact", "resume", "latest", *LOCAL, "--set", "training.length=20 steps")
    assert (same.returncode, "longer" in same.stderr) == (2, True)
    shorter = small("exact", "resume", "latest", *LOCAL, "--set", "training.length=10 steps")
    assert (shorter.returncode, "longer" in shorter.stderr) == (2, True)
    longer = small("nothing", "resume", "latest", *LOCAL, "--set", "training.length=30 steps", "--detach")
    assert longer.returncode == 0, longer.stderr
    assert "training.length: 20 steps -> 30 steps" in longer.stdout


def test_changes_on_resume_are_refused_questioned_or_taken(small, job, only_run):
    small("pause", job, *LOCAL)
    refused = small("exact", "resume", "latest", *LOCAL, "--set", "seed=5")
    assert (refused.returncode, "seed: 42 -> 5 (refused" in refused.stderr) == (2, True), refused.stderr
    asked = small("exact", "resume", "latest", *LOCAL, "--set", "training.learning_rate=1e-3")
    assert (asked.returncode, "--accept" in asked.stderr) == (2, True)
    assert sorted(entry.name for entry in (only_run() / "attempts").iterdir()) == ["1"]
    taken = small("exact", "resume", "latest", *LOCAL, "--set", "training.learning_rate=1e-3", "--accept")
    assert taken.returncode == 0, taken.stderr
    written = json.loads((only_run() / "job.json").read_text())
    assert written["job"]["training"]["learning_rate"] == 1e-3
    before = json.loads((only_run() / "attempts" / "1" / "job.json").read_text())
    assert before["job"]["training"]["learning_rate"] == 5e-4


def test_a_pause_that_was_reached_is_dropped_by_resume(small, job, only_run):
    small("pause", job, *LOCAL, "--set", "training.stop_after=2 steps")
    done = small("exact", "resume", "latest", *LOCAL)
    assert done.returncode == 0, done.stderr
    assert "training.stop_after: 2 steps is reached and dropped" in done.stdout
    assert json.loads((only_run() / "job.json").read_text())["job"]["training"]["stop_after"] is None


def test_a_pause_behind_the_checkpoint_is_refused(small, job, running: Path, only_run):
    small("", "cancel", "latest")
    saved_at(running, 5, 10)
    done = small("long", "resume", "latest", *LOCAL, "--set", "training.stop_after=10 steps")
    assert done.returncode == 2
    assert "training.stop_after: 10 steps is behind it" in done.stderr
    assert "goes on from the checkpoint of step 10; write more, or null" in done.stderr


def test_resume_from_a_step_without_a_checkpoint_names_those_there_are(small, job, running: Path, only_run):
    small("", "cancel", "latest")
    saved_at(running, 5, 10)
    done = small("long", "resume", "latest", *LOCAL, "--from", "7")
    assert (done.returncode, "there are: 5, 10" in done.stderr) == (2, True)
    behind = small("long", "resume", "latest", *LOCAL, "--accept", "--set", "training.length=10 steps")
    assert (behind.returncode, "over at the checkpoint of step 10" in behind.stderr) == (2, True), behind.stderr
    done = small("nothing", "resume", "latest", *LOCAL, "--from", "5", "--detach")
    assert done.returncode == 0, done.stderr
    assert json.loads((running / "attempts" / "2" / "resume.json").read_text())["from"] == 5


def test_logs_show_preparation_steps_and_last_words_and_follow_to_the_end(small, job, running: Path, processes):
    attempt = running / "attempts" / "1"
    (attempt / "prepare.log").write_text("prepared\n")
    (attempt / "rank-0.log").write_text("of rank 0\n")
    with (attempt / "train.log").open("a") as log:
        log.write("of torchrun\n")
    lines = small("", "logs", "latest").stdout.splitlines()
    assert lines[:2] == ["prepared", "step 1/20  loss 4.0000  10 tokens/s"]
    assert lines[-2:] == ["of rank 0", "of torchrun"]
    assert small("", "logs", "latest", "--rank", "0").stdout == "of rank 0\n"
    missing = small("", "logs", "latest", "--rank", "7")
    assert (missing.returncode, "no log of rank 7" in missing.stderr) == (1, True)
    follower = processes.start("runjob", "logs", "-f", "latest")
    assert follower.stdout.readline() == "prepared\n"
    small("", "cancel", "latest")
    out = follower.stdout.read()  # communicate() would not see what readline has read ahead
    assert follower.wait(timeout=20) == 0
    steps = [line for line in out.splitlines() if line.startswith("step ")]
    assert len(steps) == len(set(steps)) == step_of(running)


def test_a_run_with_a_damaged_status_is_listed_beside_the_others(small, job, home, only_run):
    small("exact", job, *LOCAL)
    first = only_run()
    broken = RunDir.create(home.runs, "broken")
    broken.status.write_text("{half")
    rows = {row["id"]: row["state"] for row in json.loads(small("", "ps", "--json").stdout)}
    assert rows == {first.name: "finished", broken.id: "lost"}


def test_verify_resume_finds_an_exact_job_equal_and_cleans_up(small, job, home):
    done = small("exact", "verify-resume", job, *LOCAL, "--kill-at", "4", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 12: killed at 1" in done.stdout
    assert list(home.runs.iterdir()) == []


def test_verify_resume_says_nothing_of_a_job_that_no_kill_reached(small, job, home):
    done = small("exact", "verify-resume", job, *LOCAL, "--kill-at", "500")
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "no kill came before the last step was saved (step 500: it had ended before it could be killed)" in done.stderr
    )
    assert "different" not in done.stdout.lower()


def test_verify_resume_names_the_first_step_that_differs(small, job, home):
    done = small("forgetful", "verify-resume", job, *LOCAL, "--kill-at", "12", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is False
    rows = {(row["what"], row["against"]): row for row in found["comparisons"]}
    assert rows["train records", "killed and resumed"]["differences"][0].startswith("11: loss ")
    assert rows["batches", "killed and resumed"]["differences"] == []
    assert rows["train records", "never saved"]["differences"] == []
    assert rows["final weights", "killed and resumed"]["differences"] != []
    assert list(home.runs.iterdir()) != []


def test_an_id_that_is_none_is_a_message_and_never_another_job(small, running: Path):
    for wanted in ("../../etc", "small-00000000", "no@latest", "a'; rm -rf $HOME; '", "small", f"{running.name}/../x"):
        done = small("", "status", wanted)
        assert done.returncode == (0 if wanted == "small" else 1), (wanted, done.stdout, done.stderr)
        assert done.stderr.startswith("runjob: ") == (wanted != "small")
    for unset_variable in ("", " ", "@latest", "-x"):
        assert small("", "cancel", unset_variable).returncode == 2, unset_variable
    assert json.loads((running / "status.json").read_text())["state"] == "running"
    small("", "cancel", "small")


def test_a_home_with_spaces_quotes_and_a_dollar_runs(runjob, plugin, processes, job, tmp_path: Path):
    odd = tmp_path / "it's $(touch x); here"
    done = runjob(job, *LOCAL, env={**plugin, "SMALL": "exact", "RUNJOB_HOME": str(odd)}, timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert len(list(odd.iterdir())) == 1
