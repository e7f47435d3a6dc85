"""output.remote through the command line: what is told, what is there, and a job that goes on from its copy. The
uploader is the real one; small programs stand for training."""

import json
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir
from tests.cluster.ports import free_port
from tests.cluster.s3_server import credentials
from tests.conftest import make_home, run_script

LOCAL = ("--launcher", "small")


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


def remote(far: Path) -> tuple[str, str]:
    return ("--set", f"output.remote=file://{far}")


def test_the_plan_says_what_goes_where(runjob, job, far):
    said = runjob("plan", job, *remote(far)).stdout
    line = f"copies         file://{far}/ID: each checkpoint when it is written here, the newest 3 and the best stay; "
    assert f"{line}events, code and the model\n" in said
    assert "companion upload\n" in said
    assert "runjob.runner.worker.upload {run}" in said
    assert "companion" not in runjob("plan", job).stdout


def test_a_finished_job_is_all_there_and_status_says_so(small, job, far, only_run):
    done = small("exact", job, *LOCAL, *remote(far))
    run = only_run()
    assert done.returncode == 0, done.stderr
    assert f"{run.name} is finished: all steps done\n" in done.stdout
    said = small("exact", "status", "latest").stdout
    assert f"remote       file://{far}/{run.name}: step 20 there, finished\n" in said
    shown = json.loads(small("exact", "status", "latest", "--json").stdout)["remote"]
    assert (shown["there"], shown["here"], shown["error"]) == (20, 20, "")
    assert (far / run.name / "model" / "model.safetensors").read_bytes() == (
        run / "model" / "model.safetensors"
    ).read_bytes()
    assert (far / run.name / "events.jsonl").read_bytes() == (run / "events.jsonl").read_bytes()


def test_a_job_whose_copy_can_not_be_made_goes_on_and_says_so(runjob, plugin, processes, job, only_run):
    nobody = {**credentials(f"http://127.0.0.1:{free_port()}"), "AWS_MAX_ATTEMPTS": "1", "RUNJOB_TEST_WAITS": "0.1 0.1"}
    first = {**plugin, **nobody, "SMALL": "pause"}
    done = runjob(job, *LOCAL, "--set", "output.remote=s3://bucket/runs", env=first)
    assert done.returncode == 75, done.stderr
    assert "is preempted: stop_after; not everything is at s3://bucket/runs/" in done.stdout
    assert "Could not connect to the endpoint URL" in done.stdout
    done = runjob("resume", "latest", *LOCAL, env={**first, "SMALL": "exact"})
    assert done.returncode == 0, done.stderr
    assert "Could not connect to the endpoint URL" in done.stdout
    assert "so it goes on from what is here, whatever is there" in done.stdout
    where = f"s3://bucket/runs/{only_run().name}"
    said = f"is finished: all steps done; the checkpoint of step 20 is only here, the newest at {where} is none: "
    assert said in done.stdout
    assert f"  runjob upload {only_run().name}\n" in done.stdout


def test_a_job_goes_on_from_its_copy_and_comes_back(small, plugin, job, far, only_run, tmp_path):
    done = small("pause", job, *LOCAL, *remote(far))
    assert done.returncode == 75, done.stderr
    run = only_run()
    (tmp_path / "other").mkdir()
    other = make_home(tmp_path / "other")
    done = run_script(other, "adopt", f"file://{far}/{run.name}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"{run.name} is preempted: stop_after",
        f"to go on: runjob resume {run.name}",
    ]
    env = {**plugin, "SMALL": "exact"}
    done = run_script(other, "resume", run.name, *LOCAL, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{run.name} is finished: all steps done\n" in done.stdout
    done = small("exact", "resume", run.name)
    assert done.returncode == 2
    assert "attempt 2 of it was begun elsewhere" in done.stderr
    assert f"{run.name} is finished; to train longer say so" in done.stderr
    assert (run / "model" / "model.safetensors").exists()
    assert RunDir(run).latest.read_text() == "step-00000020\n"


def test_a_kind_of_address_that_needs_a_package_is_found_before_anything_starts(runjob, job, home):
    done = runjob(job, "--set", "output.remote=abfs://container@account/runs")
    assert done.returncode == 2
    assert (
        "output.remote: abfs://container@account/runs: abfs:// needs a package that is not installed; " in done.stderr
    )
    assert not list(home.runs.iterdir())


def test_adopt_says_what_it_expects(runjob, far):
    done = runjob("adopt", "nowhere")
    assert done.returncode == 2
    assert "s3://bucket/runs/NAME-1a2b3c4d" in done.stderr
    done = runjob("adopt", f"file://{far}/small-0a1b2c3d")
    assert done.returncode == 1
    assert f"file://{far}/small-0a1b2c3d: no job is there" in done.stderr
