"""What `status`, `ps` and `why` say: the step of a resumed job, and the evidence of an end."""

import json
import os
import signal
from pathlib import Path

from runjob.schemas.run import RunDir
from tests.conftest import rewrite

LOCAL = ("--launcher", "small")


def saved_at(run: Path, *steps: int) -> None:
    """Checkpoints, as far as `resume` looks into them."""
    for step in steps:
        folder = run / "checkpoints" / f"step-{step:08d}"
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")


def look(small) -> dict[str, object]:
    return json.loads(small("", "status", "latest", "--json").stdout)


def test_a_resumed_job_shows_the_step_that_it_goes_on_from_until_it_has_made_one(small, job, only_run, wait_until):
    small("pause", job, *LOCAL)
    run = only_run()
    saved_at(run, 1, 2)
    small("preparing", "resume", "latest", *LOCAL, "--detach")
    wait_until(lambda: "tokenising" in (run / "progress.json").read_text(), within_s=20, what="the preparation")
    shown = look(small)
    assert (shown["step"], shown["goes_on_from"], shown["loss"]) == (2, 2, None)
    assert "step         from 2/20: attempt 2 has made no step yet" in small("", "status", "latest").stdout
    assert " from 2/20 " in small("", "ps").stdout
    small("", "cancel", "latest")
    small("preparing", "resume", "latest", *LOCAL, "--from", "1", "--detach")
    shown = look(small)
    assert (shown["step"], shown["goes_on_from"]) == (1, 1)
    small("", "cancel", "latest")
    small("long", "resume", "latest", *LOCAL, "--detach")
    wait_until(lambda: '"attempt": 4' in (run / "progress.json").read_text(), within_s=20, what="a step of its own")
    shown = look(small)
    assert (shown["step"] >= 3, shown["goes_on_from"]) == (True, None)
    small("", "cancel", "latest")


def test_an_attempt_that_its_place_began_by_itself_shows_the_newest_checkpoint_on_record(small, job, only_run):
    """As Slurm does: nobody here said where it goes on from, and its checkpoints lie there."""
    small("pause", job, *LOCAL)
    run = RunDir(only_run())
    with run.events.open("a") as events:
        events.write(json.dumps({"event": "checkpoint", "step": 1, "attempt": 1, "time": 0}) + "\n")
    attempt = run.new_attempt()
    (attempt.path / "resume.json").write_text('{"from": "latest", "after": "lost", "requeued": "lost"}')
    run.write_status("preempted", attempt=attempt.number)
    shown = look(small)
    assert (shown["step"], shown["goes_on_from"]) == (1, 1)


def prepared_before(run: Path, said: str) -> None:
    """As if the plan had had a stage before the training, with this in its log."""
    stages = json.loads((run / "plan.json").read_text())["stages"]
    rewrite(run / "plan.json", stages=[{**stages[0], "name": "prepare"}, *stages])
    (run / "attempts" / "1" / "prepare.log").write_text(said)


def test_why_after_a_kill_of_the_supervisor_says_so_and_quotes_what_it_was_at(
    small, running: Path, wait_until, processes
):
    os.kill(json.loads((running / "handle.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not processes.alive(), within_s=5, what="no orphan")
    attempt = running / "attempts" / "1"
    prepared_before(running, "prepared long ago\n")
    why = small("", "why", "latest").stdout
    assert why.startswith(f"{running.name}: lost, at step ")
    assert "the supervisor itself was killed (kill -9," in why
    assert f"last lines of {attempt}/supervisor.log:\n" in why
    assert "stage train: [" in why
    assert "prepared long ago" not in why
    assert why.endswith(f"it has no checkpoint yet; runjob resume {running.name} begins again at step 0\n")
    (attempt / "rank-0.log").write_text("step 3 went well\n")
    why = small("", "why", "latest").stdout
    assert why.index("supervisor.log:") < why.index("rank-0.log:\nstep 3 went well\n")
    assert json.loads(small("", "why", "latest", "--json").stdout)["last_lines"] == ["step 3 went well"]
    rewrite(running / "handle.json", boot_id="another")
    assert "this machine was started anew under it" in small("", "why", "latest").stdout


def test_why_tells_the_words_of_rank_0(small, job):
    small("fail", job, *LOCAL)
    done = small("", "why", "latest")
    assert done.returncode == 0
    assert "ValueError: the loss is NaN at step 2" in done.stdout
    assert "it has no checkpoint yet; once that is mended, runjob resume small-" in done.stdout
    assert json.loads(small("", "why", "latest", "--json").stdout)["exit"]["step"] == 2


def test_why_leaves_out_of_a_log_the_words_that_it_has_said(small, job, only_run):
    small("fail", job, *LOCAL)
    log = only_run() / "attempts" / "1" / "train.log"
    words = json.loads((log.parent / "exit.json").read_text())["error"]
    log.write_text(f"step 1 went well\nrunjob: {words}\n")
    why = small("", "why", "latest").stdout
    assert f"runjob: {words}" not in why
    assert f"last lines of {log}:\nstep 1 went well\n" in why
    log.write_text(f"runjob: {words}\n")
    assert "last lines of" not in small("", "why", "latest").stdout


def test_why_of_a_failure_shows_the_stage_that_failed_and_no_companion_or_earlier_stage(small, job, only_run):
    small("crash", job, *LOCAL)
    attempt = only_run() / "attempts" / "1"
    prepared_before(only_run(), "prepared\n")
    (attempt / "upload.log").write_text("uploaded\n")
    why = small("", "why", "latest").stdout
    assert f"last lines of {attempt}/supervisor.log:" in why
    assert "stage train: ended with code 3" in why
    (attempt / "train.log").write_text("torchrun's report\n")
    why = small("", "why", "latest").stdout
    assert f"last lines of {attempt}/train.log:\ntorchrun's report\n" in why
    assert not {"prepared", "uploaded", "supervisor.log"} & set(why.replace("/", " ").split())
