"""--launcher aws in one piece: moto rents, the machine boots with the key that it was given, ssh reaches it, the job
trains there, what it made comes home, and the machine is ended."""

import stat

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.aws_bench import AwsBench
from tests.cluster.ec2 import ACCOUNT
from tests.conftest import wait_until
from tests.end_to_end.conftest import losses

pytestmark = pytest.mark.slow


def test_a_job_is_rented_a_machine_trains_there_comes_home_and_leaves_nothing(
    aws_bench: AwsBench,
) -> None:
    bench = aws_bench
    process = bench.processes.start(bench.program, "--launcher", "aws", bench.job, env=bench.env)
    wait_until(lambda: bench.phase() == "running", within_s=60, what="a machine that answers")
    (machine,) = bench.ls()
    host = bench.machines.only()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    run = RunDir(bench.home.runs / out.splitlines()[0])
    assert machine["job"] == run.id and machine["kind"] == "m7i.large"
    assert len(losses(run)) == 20 and losses(run)[-1] < losses(run)[0]
    assert (run.model / "model.safetensors").is_file()
    assert run.latest.read_text().strip() == "step-00000020"
    assert f"{machine['id']} was ended after" in err
    assert bench.ls() == []
    wait_until(lambda: not host.root.exists(), within_s=30, what="the machine to lose its power")
    assert_nothing_secret(run, bench)


def assert_nothing_secret(run: RunDir, bench: AwsBench) -> None:
    """No credential in any file of the run, nobody else may read what leads to the machine."""
    secret = ACCOUNT["AWS_SECRET_ACCESS_KEY"].encode()
    assert [path for path in run.path.rglob("*") if path.is_file() and secret in path.read_bytes()] == []
    assert stat.S_IMODE(run.aws.stat().st_mode) == 0o700
    assert read_json(run.handle)["launcher"] == "aws"
    private = bench.home.runs / ".aws" / "id_ed25519"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    bodies = [value for _, fields in bench.aws.door.seen for value in fields.values()]
    assert not any(private.read_text().splitlines()[1] in body for body in bodies)
