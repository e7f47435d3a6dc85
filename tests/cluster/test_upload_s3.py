"""The uploader against a real S3 endpoint, and against one that fails."""

import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.ssh_environment import requirements
from runjob.schemas.run import RunDir
from runjob.schemas.upload import Upload, read_upload
from tests.cluster.ports import free_port
from tests.cluster.remote_runs import begin_attempt, end, make_run, save, upload_all, uploader
from tests.cluster.s3_server import BUCKET, KEY, SECRET, Faults, credentials, faulty, s3_server
from tests.conftest import Runjob, make_home, rewrite, run_script


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "moto.log") as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Each test has an id of its own in the one bucket."""
    number = random.randrange(16**8)
    return make_run(tmp_path / "begun", f"s3://{BUCKET}/some/prefix", id=f"small-{number:08x}")


def told(run: RunDir) -> Upload:
    upload = read_upload(run)
    assert upload is not None
    return upload


def log(run: RunDir) -> str:
    return run.list_attempts()[-1].stage_log("upload").read_text()


def test_a_run_goes_to_a_bucket_and_comes_back_and_no_secret_is_written_down(run, endpoint, runjob: Runjob, home):
    large = random.Random(1).randbytes(2**16).hex()
    save(run, 7, content=large, weights=1)
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    assert upload_all(run, credentials(endpoint)) == 0
    assert told(run).problem() == ""
    done = runjob("adopt", f"s3://{BUCKET}/some/prefix/{run.id}", env=credentials(endpoint))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"{run.id} is finished: all steps done",
        f"model: {home.runs / run.id / 'model'}",
    ]
    found = home.runs / run.id
    weights = "checkpoints/step-00000007/weights-00001.safetensors"
    assert (found / weights).read_bytes() == (run.path / weights).read_bytes()
    written = b"".join(path.read_bytes() for one in (run.path, found) for path in one.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert SECRET.encode() not in written


def test_what_a_finished_job_could_not_upload_is_sent_by_one_command(endpoint, runjob: Runjob, home, tmp_path):
    """Its bucket was away when it ended."""
    run = make_run(home.runs, f"s3://{BUCKET}/later", id="small-0b1c2d3e")
    save(run, 7)
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    away = credentials(f"http://127.0.0.1:{free_port()}") | IMPATIENT
    assert upload_all(run, away) == 0
    run.write_status("finished", attempt=1, message=f"all steps done; {told(run).problem()}")
    behind = f"the checkpoint of step 7 is only here, the newest at s3://{BUCKET}/later/{run.id} is none: "
    assert f"to send it   runjob upload {run.id}\n" in runjob("status", run.id).stdout
    done = runjob("upload", run.id, env={**away, "RUNJOB_TEST_WAITS": "0.1 0.1"})
    assert (done.returncode, behind in done.stdout) == (1, True), done.stdout + done.stderr
    assert run.read_status().message.startswith(f"all steps done; {behind}")
    done = runjob("upload", run.id, env=credentials(endpoint))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"s3://{BUCKET}/later/{run.id}: step 7 there, finished\n"
    assert "step 7: complete there after" in done.stderr
    assert "step 7: complete there after" in log(run)
    assert (run.read_status().state, run.read_status().message) == ("finished", "all steps done")
    assert "to send it" not in runjob("status", run.id).stdout
    (tmp_path / "other").mkdir()
    other = make_home(tmp_path / "other")
    assert run_script(other, "adopt", f"s3://{BUCKET}/later/{run.id}", env=credentials(endpoint)).returncode == 0
    for name in ("model/model.safetensors", "checkpoints/step-00000007/weights-00001.safetensors"):
        assert (other.runs / run.id / name).read_bytes() == (run.path / name).read_bytes()


def test_upload_is_refused_while_the_jobs_own_uploader_is_at_work_and_where_there_is_nowhere(runjob: Runjob, home):
    run = make_run(home.runs, f"s3://{BUCKET}/later", id="small-0b1c2d3e")
    # the command has longer to start than a submission may be without a sign of life: the machine may be busy
    rewrite(run.status, updated=time.time() + 12)
    done = runjob("upload", run.id)
    assert (done.returncode, f"{run.id} is running, and its own uploader is at work" in done.stderr) == (2, True)
    run.write_status("finished", attempt=1)
    raw = json.loads(run.job.read_text())
    raw["job"]["output"]["remote"] = None
    del raw["sha256"]
    run.job.write_text(json.dumps(raw))
    done = runjob("upload", run.id)
    assert (done.returncode, "names no output.remote" in done.stderr) == (2, True)


def test_an_endpoint_that_fails_for_a_while_is_asked_again(run, endpoint):
    save(run, 7)
    # s3fs itself asks up to 5 times after 503 and a broken connection, and not again after 500
    faults = Faults(answers=[500, 500, *[503] * 7, *[0] * 7])
    with faulty(endpoint, faults) as door:
        assert upload_all(run, credentials(door) | {"RUNJOB_TEST_WAITS": "0.1 0.1 0.1 0.1 0.1 0.1", **IMPATIENT}) == 0
    assert (told(run).state, told(run).there, told(run).error) == ("finished", 7, "")
    assert faults.answers == []
    assert 3 <= log(run).count("failed: ") <= 5


# botocore's own number of tries, so that a test sees ours
IMPATIENT = {"AWS_MAX_ATTEMPTS": "1"}


def test_a_try_that_failed_half_way_goes_on_where_it_was(run, endpoint):
    save(run, 7)
    assert upload_all(run, credentials(endpoint)) == 0  # so that only the next checkpoint is left to do
    save(run, 14)
    begin_attempt(run)
    faults = Faults(fails_on=("weights-00002",), answers=[500])
    with faulty(endpoint, faults) as door:
        assert upload_all(run, credentials(door) | IMPATIENT) == 0
    first = f"/{BUCKET}/some/prefix/{run.id}/checkpoints/step-00000014/weights-00001.safetensors"
    assert [line for line in faults.asked if line.endswith(first)].count(f"PUT {first}") == 1
    assert [line for line in faults.asked if line.endswith(first)].count(f"GET {first}") == 1
    assert log(run).count("failed: ") == 1


def test_a_remote_that_is_away_costs_nothing_but_the_copy_and_is_said(run):
    save(run, 7)
    nobody = f"http://127.0.0.1:{free_port()}"
    assert upload_all(run, credentials(nobody) | IMPATIENT) == 0
    where = f"s3://{BUCKET}/some/prefix/{run.id}"
    said = f"the checkpoint of step 7 is only here, the newest at {where} is none: "
    assert told(run).problem().startswith(said)
    assert "Could not connect" in told(run).error
    assert log(run).count("failed: ") == 3


def test_a_bucket_that_does_not_exist_and_a_key_that_is_refused_are_named(run, endpoint, tmp_path):
    save(run, 7)
    other = make_run(tmp_path / "others", "s3://no-such-bucket/prefix")
    assert upload_all(other, credentials(endpoint)) == 0
    assert re.search(r"bucket does not exist|no such file", told(other).error)
    without = {name: "" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    nowhere = credentials(endpoint) | without | {"AWS_EC2_METADATA_DISABLED": "true"}
    assert upload_all(run, nowhere) == 0
    assert "Unable to locate credentials (AWS_PROFILE or AWS_ACCESS_KEY_ID" in told(run).error


def test_who_falls_behind_brings_the_newest_and_says_what_was_skipped(run, endpoint, wait_until):
    faults = Faults(delay_s=0.1)
    with faulty(endpoint, faults) as door:
        save(run, 7)
        process = uploader(run, credentials(door))
        try:
            on_its_way(run, 7, wait_until)
            save(run, 14)
            save(run, 21)
            shutil.rmtree(run.checkpoints / "step-00000007")
            on_its_way(run, 21, wait_until)
            shutil.rmtree(run.checkpoints / "step-00000014")
            end(run)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait()
    assert (told(run).there, told(run).skipped) == (21, (14,))
    assert "step 14: skipped" in log(run)
    assert "step 7: complete there" in log(run)  # though it was pruned meanwhile


def on_its_way(run: RunDir, step: int, wait_until) -> None:
    wait_until(lambda: read_upload(run) is not None and told(run).uploading == step, within_s=60, what=f"step {step}")


def test_bytes_that_changed_on_the_way_are_sent_again(run, endpoint):
    save(run, 7)
    assert upload_all(run, credentials(endpoint)) == 0
    import fsspec

    options = {"endpoint_url": endpoint, "key": KEY, "secret": SECRET, "skip_instance_cache": True}
    bucket = fsspec.filesystem("s3", **options)
    name = f"{BUCKET}/some/prefix/{run.id}/checkpoints/step-00000007/weights-00001.safetensors"
    sent = bucket.cat_file(name)
    bucket.pipe_file(name, bytes(reversed(sent)))  # of the same size
    bucket.rm_file(name.replace("weights-00001.safetensors", "manifest.json"))
    begin_attempt(run)
    assert upload_all(run, credentials(endpoint)) == 0
    assert bucket.cat_file(name) == sent


def test_an_environment_that_is_made_on_a_host_can_write_to_s3():
    assert [line for line in requirements() if line.startswith("s3fs")] == ["s3fs>=2025.3"]
