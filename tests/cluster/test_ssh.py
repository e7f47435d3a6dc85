"""The life of a job on a host over a real sshd that sees nothing of this machine but a port."""

import json
import os
import signal
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.ssh_bench import SshBench, make_bench, train_steps
from tests.cluster.sshd_host import SshHost, write_client
from tests.conftest import Home, Processes, make_home, run_script, wait_until


@pytest.fixture
def bench(home: Home, processes: Processes, host: SshHost) -> SshBench:
    return make_bench(home, processes, host, write_client)


def copy_of(host: SshHost, run: RunDir) -> RunDir:
    return RunDir(host.home / ".runjob" / "runs" / run.id)


def test_the_host_sees_nothing_of_this_machine(host: SshHost, bench: SshBench):
    for path in (bench.home.path, bench.home.runs, bench.job, Path(__file__)):
        assert host.run("sh", "-c", f"test -e '{path}' && echo there || echo missing").strip() == "missing", path
    look = "from importlib.util import find_spec; print(*(find_spec(name) is not None for name in ('torch', 'runjob')))"
    assert host.run(host.python, "-c", look).split() == ["True", "False"]


def test_a_job_goes_there_runs_detached_and_everything_it_made_comes_home(host: SshHost, bench: SshBench):
    done = bench.submit("exact")
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(bench.home.runs / done.stdout.splitlines()[0])
    assert "step 20/20  eval" in done.stdout
    assert f"{run.id} is finished: all steps done" in done.stdout
    assert train_steps(run) == list(range(1, 21))
    copy = copy_of(host, run)
    for name in ("events.jsonl", "progress.json", "status.json", "attempts/1/supervisor.log", "attempts/1/exit.json"):
        assert (run.path / name).read_bytes() == (copy.path / name).read_bytes(), name
    assert (run.model / "model.safetensors").read_bytes() == (copy.model / "model.safetensors").read_bytes()
    assert read_json(copy.handle)["pid"] > 0
    assert copy.path.stat().st_mode & 0o777 == 0o700
    assert bench.runjob("logs", run.id).stdout.count("step 7/20") == 1


def test_sshd_may_be_killed_with_all_its_sessions_and_the_job_goes_on(host: SshHost, bench: SshBench):
    run = bench.start("long")
    follower = bench.processes.start("runjob", "logs", "-f", run.id)
    try:
        host.kill_sshd()
        away = bench.wait_for(run, "unreachable")
        said = away["message"]
        assert said.startswith("unreachable since ")
        assert "(last sign " in said
        assert "Connection refused" in said
        assert bench.look(run)["message"].partition(" (")[0] == said.partition(" (")[0]
        reached = train_steps(copy_of(host, run))
        wait_until(lambda: train_steps(copy_of(host, run)) > reached, what="the job to go on")
    finally:
        host.start_sshd()
    assert bench.wait_for(run, "running")["message"] != said
    assert bench.runjob("cancel", run.id).returncode == 0
    assert bench.look(run)["state"] == "cancelled"
    out, _ = follower.communicate(timeout=30)
    steps = [line.split()[1] for line in out.splitlines() if line.startswith("step ")]
    assert steps == [f"{step}/20" for step in train_steps(run)], "each line once, none left out"
    assert train_steps(run) == train_steps(copy_of(host, run))


def test_a_job_whose_supervisor_was_killed_there_is_lost_and_goes_on_by_resume(host: SshHost, bench: SshBench):
    run = bench.start("long")
    inside = read_json(copy_of(host, run).handle)["pid"]
    host.run("kill", "-9", str(inside))
    lost = bench.wait_for(run, "lost")
    assert f"pid {inside}" in lost["message"]
    reached = max(train_steps(run))
    done = bench.runjob("resume", run.id, "--launcher", "smallssh", "--detach", small="long")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.wait_for(run, "running")["attempt"] == 2
    bench.runjob("cancel", run.id)
    assert bench.look(run)["state"] == "cancelled"
    assert max(train_steps(run)) > reached
    assert len(train_steps(run)) == len(set(train_steps(run)))


MOMENTS = [
    "before the copy",
    "while the copy is sent",
    pytest.param("when all was sent", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_submission_that_is_killed_leaves_nothing_unknown(host: SshHost, bench: SshBench, moment: str):
    big = bench.home.path / "text.txt"
    big.write_bytes(b"een twee drie\n" * 3_000_000)
    command = bench.processes.start("runjob", bench.job, *bench.words(), env={**bench.env, "SMALL": "long"})
    runs = lambda: list(bench.home.runs.glob("small-*"))  # noqa: E731
    wait_until(lambda: bool(runs()), within_s=60, what="a run")
    (path,) = runs()
    handle = path / "handle.json"
    copy = copy_of(host, RunDir(path))
    reached = {
        "before the copy": lambda: handle.exists() and "host" in read_json(handle),
        "while the copy is sent": lambda: copy.code.is_dir(),
        "when all was sent": lambda: copy.status.exists(),
    }
    wait_until(reached[moment], within_s=30, what=moment)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    run = RunDir(path)
    seen = bench.wait_for(run, "lost", "running")
    if seen["state"] == "lost":
        assert "broke off" in seen["message"] or "never started" in seen["message"], seen
        done = bench.runjob("resume", run.id, "--launcher", "smallssh", "--detach", small="long")
        assert done.returncode == 0, done.stdout + done.stderr
    bench.wait_for(run, "running")
    bench.runjob("cancel", run.id)
    assert bench.look(run)["state"] == "cancelled"
    assert not [line for line in host.commands() if run.id in line]


def test_a_copy_that_somebody_removed_is_lost(host: SshHost, bench: SshBench):
    run = bench.start("long")
    host.run("kill", "-9", str(read_json(copy_of(host, run).handle)["pid"]))
    host.run("rm", "-rf", f"{Path.home()}/.runjob/runs/{run.id}")
    assert "there is no copy of the run" in bench.wait_for(run, "lost")["message"]


HOSTILE = 'it\'s $(touch pwned) `touch pwned`; "touch pwned" & \\n é'


def test_paths_that_a_shell_would_read_are_read_by_none(host: SshHost, bench: SshBench):
    text = bench.home.path / HOSTILE / "te xt;*.txt"
    text.parent.mkdir()
    text.write_text("een twee drie\n")
    folder = f"~/{HOSTILE}/runjob"
    done = bench.submit("exact", "--set", f"data.path={json.dumps(str(text))}", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(bench.home.runs / done.stdout.splitlines()[0])
    copy = RunDir(host.home / HOSTILE / "runjob" / "runs" / run.id)
    there = read_json(copy.job)["job"]["data"]["path"]
    assert Path(there).name == "te xt;*.txt"
    assert host.run("cat", there) == "een twee drie\n"
    assert train_steps(run) == list(range(1, 21))
    assert not list(host.home.rglob("pwned"))
    assert not list(bench.home.path.rglob("pwned"))


def test_setup_lines_run_before_the_job_and_may_say_what_they_like(bench: SshBench):
    done = bench.submit("exact", setup=["echo hello there", "export PATH=/nowhere:$PATH"])
    assert done.returncode == 0, done.stdout + done.stderr
    failing = bench.submit("exact", setup=["echo no such module >&2; false"])
    assert failing.returncode == 2
    assert "hardware.ssh.setup" in failing.stderr
    assert "no such module" in failing.stderr


def test_a_job_is_adopted_from_another_laptop_and_watched_stopped_and_resumed_there(
    host: SshHost, bench: SshBench, tmp_path: Path
):
    run = bench.start("long")
    (tmp_path / "other laptop").mkdir()
    other = make_home(tmp_path / "other laptop")
    (bench.home.path / "text.txt").unlink()
    bench.home.runs.rename(tmp_path / "a closed laptop")

    def runjob(*words: str) -> str:
        done = run_script(other, *words, env={**bench.env, "SMALL": "long"}, timeout_s=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = runjob("adopt", f"gpu0:~/.runjob/runs/{run.id}", "--config-file", str(bench.config))
    assert f"{run.id} is running" in said
    mine = RunDir(other.runs / run.id)
    assert mine.path.stat().st_mode & 0o777 == 0o700
    assert "step 1/20" in runjob("logs", run.id)
    runjob("cancel", run.id)
    assert json.loads(runjob("status", run.id, "--json"))["state"] == "cancelled"
    assert train_steps(mine) == train_steps(copy_of(host, run))
    # the first laptop comes back and knows the end of attempt 1; the second one goes on meanwhile
    (tmp_path / "a closed laptop").rename(bench.home.runs)
    assert bench.look(run)["state"] == "cancelled"
    runjob("resume", run.id, "--detach")
    refused = bench.runjob("resume", run.id, small="long")
    assert (refused.returncode, f"{run.id} is running" in refused.stderr) == (2, True), refused.stderr
    assert not (bench.home.runs / run.id / "attempts" / "3").exists()
    runjob("cancel", run.id)
    assert read_json(mine.status)["attempt"] == 2
    again = run_script(other, "adopt", f"gpu0:~/.runjob/runs/{run.id}", "--config-file", str(bench.config))
    assert (again.returncode, "already" in again.stderr) == (2, True)
    none = run_script(other, "adopt", "gpu0:/tmp/small-00000000", "--config-file", str(bench.config))
    assert (none.returncode, "no run directory" in none.stderr) == (1, True), none.stderr
