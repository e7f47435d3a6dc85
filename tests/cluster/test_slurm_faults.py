"""Whatever Slurm, its users or its machines do to a job: what is said of it, that nothing is lost, that it comes back
where it should, and that it does not where it should not."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from runjob.launchers.base import read_handle
from runjob.launchers.slurm import SlurmLauncher
from runjob.launchers.slurm_queue import ask_records
from runjob.runner.why.answer import answer
from runjob.schemas.run import RunDir, read_json, write_json
from tests.cluster.slurm_cluster import Cluster
from tests.cluster.slurm_jobs import Bench, job_of
from tests.conftest import Home, rewrite, run_script, wait_until
from tests.launchers.helpers import steps_done


@pytest.fixture
def bench(cluster: Cluster, tmp_path, monkeypatch) -> Iterator[Bench]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.folder / "slurm.conf"))
    home = cluster.shared / tmp_path.name
    home.mkdir()
    yield Bench(cluster=cluster, home=home, launcher=SlurmLauncher())


def reason_of(run: RunDir, attempt: int) -> str:
    return read_json(run.attempt(attempt).path / "resume.json")["after"]


def test_a_job_runs_where_nothing_but_the_shared_folder_is_and_says_how_it_ended(bench: Bench):
    run = bench.submit("finish", prepare="nothing")
    assert bench.wait_for(run, "finished").message == "all steps done"
    handle = read_handle(run)
    assert handle is not None
    assert (handle.launcher, handle.attempt, handle.facts) == ("slurm", 1, {"job": job_of(run), "run": str(run.path)})
    wait_until(lambda: bench.cluster.jobs()[job_of(run)] == "COMPLETED", within_s=60, what="Slurm to say COMPLETED")


def test_a_failed_job_is_failed_in_slurm_too_and_not_started_again(bench: Bench):
    run = bench.submit("fail")
    assert bench.wait_for(run, "failed").message == "ValueError: the loss is NaN at step 2"
    wait_until(lambda: bench.cluster.jobs()[job_of(run)] == "FAILED", within_s=60, what="Slurm to say FAILED")
    assert [attempt.number for attempt in run.list_attempts()] == [1]


def test_a_requeued_job_saves_comes_back_by_itself_and_goes_on(bench: Bench):
    run = bench.submit("long")
    bench.wait_for_step(run, 3)
    bench.cluster.run("scontrol", "requeue", job_of(run))
    said = bench.wait_for(run, "pending")
    wait_until(run.attempt(1).exit.exists, within_s=60, what="the first attempt to have saved")
    before = steps_done(run)
    assert run.attempt(1).read_exit().outcome == "preempted"
    wait_until(lambda: steps_done(run) > before, within_s=60, what="it to go on")
    assert bench.wait_for(run, "running", attempt=2).attempt == 2
    assert reason_of(run, 2) == "preempted"
    assert "waits in Slurm's queue" in said.message, said
    bench.launcher.cancel(run, run.attempt(2))
    assert bench.wait_for(run, "cancelled", within_s=60).attempt == 2


def test_a_job_of_higher_priority_takes_the_node_and_the_job_comes_back_afterwards(bench: Bench):
    run = bench.submit("long", "hardware.slurm.cpus=4", "hardware.slurm.exclude=node2")
    bench.wait_for_step(run, 3)
    argv = ("sbatch", "--parsable", "--partition=high", "--nodelist=node1", "--exclusive", "--output=/dev/null")
    high = bench.cluster.run(*argv, "--chdir=/", "--wrap=sleep 2")
    bench.wait_for(run, "pending")
    wait_until(
        lambda: "preempted by a job of higher priority" in bench.state(run).message, within_s=60, what="Slurm's reason"
    )
    assert "goes on by itself" in bench.state(run).message
    before = steps_done(run)
    wait_until(lambda: bench.cluster.jobs()[high] == "COMPLETED", within_s=60, what="the other job to end")
    wait_until(lambda: steps_done(run) > before, within_s=60, what="it to go on")
    bench.launcher.cancel(run, run.attempt(2))
    bench.wait_for(run, "cancelled", within_s=60)


def test_a_warning_before_the_time_limit_is_enough_to_save_and_queue_again(bench: Bench):
    """--signal sends USR2 to every process of the job; Slurm looks at its limits twice a minute, scancel at once."""
    run = bench.submit("long-with-child")
    bench.wait_for_step(run, 2)
    bench.cluster.run("scancel", "--signal=USR2", job_of(run))
    wait_until(lambda: "requeued by Slurm" in bench.state(run).message, within_s=60, what="Slurm to queue it again")
    assert bench.state(run).state == "pending"
    assert run.attempt(1).read_exit().outcome == "preempted"
    bench.launcher.cancel(run, run.attempt(1))
    assert bench.state(run).state == "cancelled"
    wait_until(lambda: bench.cluster.jobs()[job_of(run)] == "CANCELLED", within_s=60, what="Slurm to forget it")


def test_who_cancels_in_slurm_itself_has_cancelled_the_job_after_it_saved(bench: Bench):
    run = bench.submit("long")
    bench.wait_for_step(run, 3)
    bench.cluster.run("scancel", job_of(run))
    said = bench.wait_for(run, "cancelled", within_s=60).message
    assert said.startswith("cancelled in Slurm (scancel), not by runjob; it had saved at step ")
    assert bench.launcher.state(run).state == "cancelled"
    assert read_json(run.attempt(1).place_word)["state"] == "CANCELLED"
    assert [attempt.number for attempt in run.list_attempts()] == [1]


def lose_power(bench: Bench, run: RunDir) -> str:
    """The job's node goes at once, and an administrator says so before Slurm has noticed; what is said meanwhile."""
    bench.cluster.nodes["node1"].end()
    bench.cluster.run("scontrol", "update", "nodename=node1", "state=down", "reason=power")
    said = bench.wait_for(run, "pending").message
    bench.cluster.run("scontrol", "update", f"job={job_of(run)}", "excnodelist=")
    return said


def test_a_node_that_loses_its_power_gives_the_job_to_another(bench: Bench):
    run = bench.submit("long", "hardware.slurm.node_failure_retries=1", "hardware.slurm.exclude=node2")
    bench.wait_for_step(run, 3)
    before = steps_done(run)
    assert "its node went away, last sign at " in lose_power(bench, run)
    wait_until(lambda: steps_done(run) > before, within_s=60, what="it to go on")
    assert bench.wait_for(run, "running", attempt=2).attempt == 2
    assert reason_of(run, 2) == "lost"
    bench.launcher.cancel(run, run.attempt(2))
    bench.wait_for(run, "cancelled", within_s=60)


def test_more_node_failures_than_allowed_end_the_job(bench: Bench):
    run = bench.submit("long", "hardware.slurm.node_failure_retries=0", "hardware.slurm.exclude=node2")
    bench.wait_for_step(run, 2)
    lose_power(bench, run)
    said = bench.wait_for(run, "failed").message
    assert said == "a node failed under it (1 time), and hardware.slurm.node_failure_retries is 0"
    finding = answer(run, bench.state(run)).finding
    assert finding is not None and finding.kind == "lost"
    assert finding.evidence[0].says == "slurm says NODE_FAIL"
    assert [attempt.number for attempt in run.list_attempts()] == [1]


def test_a_killed_slurmd_harms_no_job_and_when_slurm_gives_its_node_up_the_job_is_never_two(bench: Bench):
    """What slurmd started lives on without it. After SlurmdTimeout Slurm starts the job elsewhere, though it still runs
    where it was; that one sees the next attempt, and ends."""
    run = bench.submit("long-with-child", "hardware.slurm.exclude=node2")
    bench.wait_for_step(run, 3)
    node = bench.cluster.nodes["node1"]
    node.kill_slurmd()
    before = steps_done(run)
    wait_until(lambda: steps_done(run) > before + 10, within_s=60, what="it to go on")
    assert bench.state(run).state == "running"
    bench.cluster.run("scontrol", "update", "nodename=node1", "state=down", "reason=slurmd")
    wait_until(lambda: bench.cluster.jobs()[job_of(run)] == "PENDING", within_s=60, what="Slurm to requeue it")
    bench.cluster.run("scontrol", "update", f"job={job_of(run)}", "excnodelist=")
    wait_until(lambda: (run.attempts / "2" / "supervisor.log").exists(), within_s=60, what="the second attempt")
    wait_until(lambda: not node.pids("python"), within_s=60, what="everything of the first attempt to end")
    assert "a later attempt has taken over" in run.attempt(1).supervisor_log.read_text()
    steps = [record["step"] for record in run.read_events()]
    assert steps == sorted(set(steps)), "no step twice"
    bench.launcher.cancel(run, run.attempt(2))
    assert bench.wait_for(run, "cancelled", within_s=60).attempt == 2


def test_the_death_of_one_node_of_two_ends_the_job_on_both(bench: Bench):
    run = bench.submit("long", nodes=2, other="sleep 1; exit 3")
    said = bench.wait_for(run, "failed", within_s=60).message
    assert said.startswith("node 1 ended with code 3; see "), said
    names = ("node1", "node2")
    wait_until(
        lambda: not [pid for name in names for pid in bench.cluster.nodes[name].pids("python")],
        within_s=60,
        what="both nodes to be empty",
    )


def test_while_slurmctld_is_away_a_running_job_is_seen_to_run_and_a_waiting_one_is_unreachable(bench: Bench):
    running = bench.submit("long", "hardware.slurm.exclude=node2", "hardware.slurm.cpus=4")
    bench.wait_for_step(running, 2)
    waiting = bench.submit("long", "hardware.slurm.exclude=node2", "hardware.slurm.cpus=4")
    wait_until(lambda: "(Resources)" in bench.state(waiting).message, within_s=60, what="Slurm's reason")
    bench.cluster.stop_controller()
    said = bench.wait_for(waiting, "unreachable")
    assert said.message.startswith("unreachable since ")
    assert "last sign" in said.message
    assert bench.state(running).state == "running"
    bench.cluster.start_controller()
    bench.wait_for(waiting, "pending", within_s=60)
    for run in (running, waiting):
        bench.launcher.cancel(run, run.attempt(1))
        bench.wait_for(run, "cancelled", within_s=60)


def test_a_cancelled_job_has_ended_within_seconds_of_its_save(bench: Bench):
    run = bench.submit("long")
    bench.wait_for_step(run, 2)
    bench.launcher.cancel(run, run.attempt(1))
    bench.wait_for(run, "cancelled", within_s=60)
    saved = run.attempt(1).exit.stat().st_mtime
    wait_until(lambda: bench.cluster.jobs()[job_of(run)] == "COMPLETED", within_s=60, what="Slurm to be done with it")
    assert time.time() - saved < 10


def test_a_job_that_was_killed_without_a_word_is_not_called_alive(bench: Bench):
    run = bench.submit("long", "hardware.slurm.exclude=node2")
    bench.wait_for_step(run, 2)
    for pid in bench.cluster.nodes["node1"].pids("python"):
        os.kill(pid, signal.SIGKILL)
    said = bench.wait_for(run, "lost", "failed", "cancelled", within_s=60)
    assert said.state == "lost", said
    assert "never said how it ended" in said.message


def test_a_job_that_squeue_has_forgotten_is_found_in_the_records_and_one_that_never_was_is_lost(bench: Bench):
    run = bench.submit("finish")
    bench.wait_for(run, "finished")
    number = job_of(run)
    wait_until(lambda: bench.cluster.jobs()[number] == "COMPLETED", within_s=60, what="Slurm to be done with it")
    found = ask_records(number)
    assert found is not None
    assert found.state == "COMPLETED"
    assert ask_records("1") is None
    write_json(run.status, {"state": "running", "attempt": 1, "updated": time.time() - 60, "message": ""})
    rewrite(run.handle, job="1")
    assert bench.state(run).state == "lost"
    assert bench.state(run).message.startswith("Slurm knows nothing of job 1 any more; it was running, last sign at ")


def test_ps_asks_slurm_once_for_all_jobs(bench: Bench, home: Home):
    whole = ("hardware.slurm.exclude=node2", "hardware.slurm.cpus=4")
    runs = [bench.submit("long", *whole) for _ in range(3)]
    tools = home.path / "tools"
    tools.mkdir()
    program = tools / "squeue"
    program.write_text(f'#!/bin/bash\necho asked >> "{home.path}/asked"\nexec {shutil.which("squeue")} "$@"\n')
    program.chmod(0o755)
    env = {
        "RUNJOB_HOME": str(bench.home),
        "SLURM_CONF": str(bench.cluster.folder / "slurm.conf"),
        "PATH": f"{tools}{os.pathsep}{home.env['PATH']}",
    }
    rows = json.loads(run_script(home, "ps", "--json", env=env).stdout)
    assert sorted(row["id"] for row in rows) == sorted(run.id for run in runs)
    assert {row["launcher"] for row in rows} == {"slurm"}
    assert [row["state"] for row in rows].count("pending") >= 2
    assert (home.path / "asked").read_text() == "asked\n"
    for run in runs:
        bench.launcher.cancel(run, run.attempt(1))
        bench.wait_for(run, "cancelled", within_s=15)
