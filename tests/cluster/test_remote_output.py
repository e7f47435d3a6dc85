"""A whole job with output.remote in S3: its machine taken back by a spot notice, gone on with on an empty one, killed
there with everything and its run directory lost, and brought to its end on a third; equal, bit for bit, to one that was
never interrupted. Secrets are in the environment of whoever types: a program has those that it needs, no file any."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.kill import kill_everything
from runjob.schemas.errors import LaunchError
from runjob.schemas.lifeline import set_parent_death_signal
from runjob.schemas.run import RunDir
from runjob.schemas.upload import read_upload
from tests.cluster.ports import answers, free_port
from tests.cluster.s3_server import BUCKET, KEY, SECRET, credentials, s3_server
from tests.conftest import Home, make_home, run_script, wait_until
from tests.end_to_end.conftest import assert_same_run, flags, progress, records, write_job
from tests.planted import PLANTED, files_with, processes_with

pytestmark = pytest.mark.slow

REMOTE = f"s3://{BUCKET}/some/prefix"
TRAINS, UPLOADS = ("runjob.runner.worker",), "runjob.runner.worker.upload"
JOB = ("training.length=240 steps", "training.checkpoint.every=60 steps", "evaluation.every=60 steps")
LAUNCHER = """\
import dataclasses

from runjob.launchers.local import LocalLauncher
from runjob.launchers.spot_notice import spot_companion


class Spot(LocalLauncher):
    def submit(self, run, plan, attempt):
        watched = dataclasses.replace(plan, companions=(*plan.companions, spot_companion()))
        watched.write(run)
        return super().submit(run, watched, attempt)
"""


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with s3_server(tmp_path / "moto.log") as running:
        yield running
        for handle in tmp_path.rglob("handle.json"):
            with contextlib.suppress(LaunchError):
                kill_everything(RunDir(handle.parent))


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[str]:
    """The address of a metadata service that has a notice as soon as there is tmp_path/notice."""
    port = free_port()
    argv = [sys.executable, Path(__file__).with_name("imds_program.py"), str(port), tmp_path / "notice"]
    with subprocess.Popen(argv, preexec_fn=set_parent_death_signal) as service:
        wait_until(lambda: answers(port), within_s=30, what="the metadata service")
        yield f"http://127.0.0.1:{port}"
        service.kill()


@pytest.fixture
def spot(tmp_path: Path, metadata: str) -> dict[str, str]:
    """The environment in which `--launcher spot` exists: this machine, watched as a spot machine is."""
    facts = tmp_path / "site" / "spot_launcher-1.0.dist-info"
    facts.mkdir(parents=True)
    (tmp_path / "site" / "spot_launcher.py").write_text(LAUNCHER)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: spot-launcher\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[runjob.launchers]\nspot = spot_launcher:Spot\n")
    return {"PYTHONPATH": str(tmp_path / "site"), "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}


def machine(tmp_path: Path, name: str) -> Home:
    """An empty one: no run, no prepared data."""
    (tmp_path / name).mkdir()
    return make_home(tmp_path / name)


@pytest.mark.nightly
def test_a_job_goes_on_from_its_bucket_alone_after_a_spot_notice_and_after_a_kill(tmp_path, endpoint, spot):
    secret = {**credentials(endpoint), **PLANTED}
    first, second, third = (machine(tmp_path, name) for name in ("first", "second", "third"))
    job = write_job(first.path)

    def type_on(home: Home, *words: str | Path, env: dict[str, str] | None = None, code: int = 0) -> str:
        done = run_script(home, *words, env={**secret, **(env or {})})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    straight = RunDir(first.runs / type_on(first, job, *flags(JOB)).splitlines()[0])
    sets = flags((*JOB, f"output.remote={REMOTE}"))
    said = type_on(first, job, *sets, "--launcher", "spot", "--detach", env=spot)
    run = RunDir(first.runs / said.splitlines()[0])
    wait_until(lambda: progress(run) >= 70, within_s=120, what="step 70")
    assert programs_with(KEY, SECRET, run=run) == {
        "runjob.launchers.supervisor",
        "torch.distributed.run",
        *TRAINS,
        UPLOADS,
    }
    assert programs_with(*PLANTED.values(), run=run) == {
        "runjob.launchers.supervisor",
        "torch.distributed.run",
        *TRAINS,
    }
    assert list(processes_with([KEY, SECRET, *PLANTED.values()], "cmdline")) == []
    (tmp_path / "notice").write_text('{"action": "terminate", "time": "2026-11-21T22:00:00Z"}')
    wait_until(lambda: run.read_status().state == "preempted", within_s=120, what="the job to have saved and stopped")
    stopped = progress(run)
    assert 70 <= stopped < 240
    message = run.read_status().message
    assert message == f"spot interruption at 2026-11-21T22:00:00Z; asked to stop at step {stopped}"
    status = type_on(first, "status", run.id)
    assert f"{REMOTE}/{run.id}: step {stopped} there, finished" in status
    shutil.rmtree(run.path)

    said = type_on(second, "adopt", f"{REMOTE}/{run.id}")
    assert f"{run.id} is preempted: {message}\nto go on: runjob resume {run.id}" in said
    said = type_on(second, "resume", run.id, "--detach")
    assert "bit-identical" in said
    assert f"goes on from the checkpoint of step {stopped}" in said
    run = RunDir(second.runs / run.id)
    later = (stopped // 60 + 1) * 60
    wait_until(lambda: there(run) >= later, within_s=120, what=f"step {later} to be there")
    kill_everything(run)
    shutil.rmtree(run.path)

    said = type_on(third, "adopt", f"{REMOTE}/{run.id}")
    assert f"{run.id} is lost: the supervisor (pid " in said
    (first.path / "corpus.txt").rename(first.path / "elsewhere.txt")
    said = type_on(third, "resume", run.id, code=2)
    assert f"{first.path}/corpus.txt: no such file" in said
    (first.path / "elsewhere.txt").rename(first.path / "corpus.txt")
    said = type_on(third, "resume", run.id, "--set", "tracking.wandb={project: tests, mode: offline}")
    run = RunDir(third.runs / run.id)
    assert f"{run.id} is finished: all steps done" in said
    assert_same_run(straight, run)
    assert [record["step"] for record in records(run, "train")] == list(range(1, 241))
    assert [path.name for path in sorted(run.attempts.iterdir())] == ["1", "2", "3"]

    found = machine(tmp_path, "fourth")
    type_on(found, "adopt", f"{REMOTE}/{run.id}")
    model = "model/model.safetensors"
    assert (found.runs / run.id / model).read_bytes() == (run.path / model).read_bytes()
    assert list(run.wandb.glob("offline-run-*"))
    assert files_with([KEY, SECRET, *PLANTED.values()], *(home.path.parent for home in (first, third, found))) == []


def programs_with(*secrets: str, run: RunDir) -> set[str]:
    """Modules of this run's processes that have one of these in their environment."""
    words = [words for _, words in processes_with(secrets, "environ") if str(run.path).encode() in words]
    return {one[one.index(b"-m") + 1].decode() for one in words}


def there(run: RunDir) -> int:
    upload = read_upload(run)
    return -1 if upload is None or upload.there is None else upload.there
