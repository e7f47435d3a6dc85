"""A machine is taken away while the job trains on it: by Amazon with two minutes' notice, or by somebody with none. The
job goes on on the next one under the same id, and nothing stays rented."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir
from tests.cluster.aws_bench import AwsBench
from tests.cluster.ec2 import ACCOUNT
from tests.cluster.ports import free_port
from tests.conftest import wait_until
from tests.end_to_end.conftest import progress

pytestmark = pytest.mark.slow
LONG = "training.length=400 steps", "training.checkpoint.every=50 steps", "evaluation.every=200 steps"


@pytest.fixture
def notice(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Where the metadata service of every machine is, and the file that is its notice."""
    port, file = free_port(), tmp_path / "notice"
    program = [sys.executable, Path(__file__).with_name("imds_program.py"), str(port), file]
    with subprocess.Popen(program) as process:
        yield f"http://127.0.0.1:{port}", file
        process.kill()


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def rented(run: RunDir) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run.aws / "rented.jsonl").read_text().splitlines()]


def steps_seen(run: RunDir) -> list[int]:
    return [record["step"] for record in run.read_events() if record["event"] == "train"]


def test_a_spot_machine_is_taken_back_and_the_job_goes_on_on_the_next_by_itself(
    aws_bench: AwsBench, notice: tuple[str, Path]
) -> None:
    bench, (metadata, file) = aws_bench, notice
    bench.change_job(spot=True, spot_retries=1, setup=[f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={metadata}"])
    words = [bench.program, "--launcher", "aws", bench.job, *sets(*LONG)]
    process = bench.processes.start(*words, env=bench.env)
    wait_until(lambda: bool(bench.runs()) and progress(bench.newest()) >= 10, within_s=180, what="some steps")
    run = bench.newest()
    file.write_text('{"action": "terminate", "time": "2026-11-21T12:02:00Z"}')
    wait_until(lambda: len(rented(run)) == 2, within_s=120, what="the second machine")
    file.unlink()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert f"{run.id} is preempted: " in out and "spot interruption at 2026-11-21T12:02:00Z" in out
    assert "spot machine 1 was taken back; renting the next (hardware.aws.spot_retries: 1)" in out
    assert [attempt.number for attempt in run.list_attempts()] == [1, 2]
    assert steps_seen(run) == list(range(1, 401)), "each step once, over two machines"
    assert all(line["spot"] and line["to"] is not None for line in rented(run))
    assert bench.ls() == []


@pytest.mark.nightly
def test_a_machine_is_ended_from_outside_and_the_job_goes_on_from_its_remote_copy(aws_bench: AwsBench) -> None:
    """In each phase that is left the command is killed too: while the job trains, and while what it made is fetched."""
    bench = aws_bench
    bench.aws.make_bucket("runs")
    bench.change_job(setup=[f"export AWS_ENDPOINT_URL={bench.aws.door.behind}"])
    words = [
        "--launcher",
        "aws",
        bench.job,
        *sets("training.length=3000 steps", *LONG[1:], "output.remote=s3://runs/x"),
    ]
    process = bench.processes.start(bench.program, *words, env=bench.env)
    wait_until(lambda: bool(bench.runs()) and progress(bench.newest()) >= 60, within_s=180, what="some steps")
    run = bench.newest()
    process.kill()
    process.communicate()
    before = progress(run)
    bench.until(run, "running")
    assert environments(bench)
    for environment in environments(bench):
        assert environment["AWS_SESSION_TOKEN"] and ACCOUNT["AWS_SECRET_ACCESS_KEY"] not in environment.values()
    wait_until(lambda: bench.aws.in_bucket("runs", f"x/{run.id}/checkpoints/"), within_s=60, what="a checkpoint in S3")

    (machine,) = bench.ls()
    bench.aws.ec2.terminate_instances(InstanceIds=[machine["id"]])
    wait_until(lambda: not bench.machines.hosts, within_s=30, what="the machine to lose its power")
    said = bench.until(run, "lost")["message"]
    assert said.startswith(f"the machine {machine['id']} is gone (ended from outside: ")
    assert "what it had not brought home is lost" in said
    assert f"{run.id} is lost: {said}" in bench.runjob("why", run.id).stdout

    done = bench.runjob("resume", run.id, "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on from the checkpoint of step " in done.stdout
    (second,) = bench.ls()
    assert second["id"] != machine["id"]
    wait_until(lambda: made_step(bench, run) > before, within_s=180, what="the job to go on")
    done = bench.runjob("cancel", run.id, "--no-wait")
    bench.until(run, "cancelled")

    fetching = bench.processes.start(bench.program, "fetch", run.id, env=bench.env)
    assert fetching.stderr is not None
    said = fetching.stderr.readline()
    if "fetching" in said:  # killed while something is on its way: not home yet, so not ended
        fetching.kill()
        fetching.communicate()
        assert [row["id"] for row in bench.ls()] == [second["id"]]
        done = bench.runjob("fetch", run.id)
        assert done.returncode == 0, done.stderr
        said = done.stderr
    else:  # a look had brought everything home before
        fetching.communicate()
    assert f"{second['id']} was ended after" in said, said
    assert bench.ls() == []
    seen = steps_seen(run)
    assert seen == list(range(1, len(seen) + 1)), "each step once, over two machines"
    assert run.latest.read_text().strip() == f"step-{seen[-1]:08d}"


def made_step(bench: AwsBench, run: RunDir) -> int:
    """The newest step that the newest attempt has made itself."""
    row = bench.json("status", run.id)
    return 0 if row["goes_on_from"] is not None else int(row["step"] or 0)


def environments(bench: AwsBench) -> list[dict[str, str]]:
    """Of the supervisor on the machine and of everything below it."""
    texts = [Path(f"/proc/{pid}/environ").read_text() for pid in bench.machines.only().processes()]
    found = [dict(one.partition("=")[::2] for one in text.split("\0")) for text in texts]
    return [one for one in found if "RUNJOB_ATTEMPT" in one]
