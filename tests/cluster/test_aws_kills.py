"""The command that rents is killed in each phase of it: nothing stays rented that nobody knows of, and the next look,
or `aws down`, ends it."""

import signal
import subprocess

import pytest

from runjob.schemas.manifest import write_manifest
from runjob.schemas.run import write_json
from tests.cluster.aws_bench import AwsBench
from tests.conftest import wait_until


def start(bench: AwsBench) -> "subprocess.Popen[str]":
    return bench.processes.start(bench.program, "--launcher", "aws", bench.job, env=bench.env)


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_killed_before_anything_is_rented(aws_bench: AwsBench) -> None:
    held = aws_bench.aws.door.hold("DescribeKeyPairs")
    process = start(aws_bench)
    assert held.wait(60)
    run = aws_bench.newest()
    kill(process)
    aws_bench.aws.door.let_go()
    assert aws_bench.ls() == []
    # For a few seconds EC2 might not show what it has just done.
    said = aws_bench.until(run, "lost")["message"]
    assert said.startswith("its submission was killed (looking for a machine of ")
    assert said.endswith("; no machine is rented")


def test_killed_between_the_order_and_its_answer(aws_bench: AwsBench) -> None:
    """The instant that matters: Amazon has rented, and nobody here knows the machine's name."""
    bench = aws_bench
    held = bench.aws.door.hold("RunInstances")
    process = start(bench)
    assert held.wait(60)
    run = bench.newest()
    kill(process)
    bench.aws.door.let_go()
    (machine,) = bench.ls()
    assert machine["job"] == run.id
    said = bench.until(run, "lost")["message"]
    assert said == (
        f"its submission was killed (renting a m7i.large in us-east-1); {machine['id']}, rented for it, was ended"
    )
    assert bench.ls() == []
    assert bench.until(run, "lost")["message"] == said, "also said by whoever looks later"


def test_killed_while_it_waits_and_ended_by_aws_down(aws_bench: AwsBench) -> None:
    bench = aws_bench
    bench.machines.boots = False
    process = start(bench)
    wait_until(lambda: bench.phase() == "waiting", within_s=60, what="the wait for the machine")
    bench.until(bench.newest(), "pending")
    kill(process)
    run = bench.newest()
    (machine,) = bench.ls()
    done = bench.runjob("aws", "down", run.id, "--region", "us-east-1")
    assert (done.returncode, done.stdout) == (0, f"ended {machine['id']} (m7i.large in us-east-1a) of {run.id}\n")
    assert bench.ls() == []
    again = bench.runjob("aws", "down", run.id, "--region", "us-east-1")
    assert again.returncode == 0 and again.stdout.startswith("nothing to end: no machine of runjob's is rented by arn:")
    assert f"{machine['id']}, rented for it, was ended" in bench.until(run, "lost")["message"]


def test_killed_while_the_run_is_sent(aws_bench: AwsBench) -> None:
    bench = aws_bench
    bench.change_job(setup=["sleep 1"])
    process = start(bench)
    wait_until(lambda: bench.phase() == "running", within_s=60, what="the machine to answer")
    kill(process)
    run = bench.newest()
    (machine,) = bench.ls()
    assert f"{machine['id']}, rented for it, was ended" in bench.until(run, "lost")["message"]
    assert bench.ls() == []


@pytest.mark.parametrize("how", ["Ctrl-C", "cancel"])
def test_stopped_while_it_waits(aws_bench: AwsBench, how: str) -> None:
    bench = aws_bench
    bench.machines.boots = False
    process = start(bench)
    wait_until(lambda: bench.phase() == "waiting", within_s=60, what="the wait for the machine")
    run = bench.newest()
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        done = bench.runjob("cancel", run.id)
        assert done.returncode == 0, done.stderr
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert bench.ls() == []
    assert "was ended" in bench.until(run, "cancelled")["message"]


def test_a_mistake_that_nobody_foresaw_leaves_no_machine(aws_bench: AwsBench) -> None:
    """Here a checkpoint that is whole and of which no version of ours knows what it says."""
    bench = aws_bench
    bench.machines.boots = False
    process = start(bench)
    wait_until(lambda: bench.phase() == "waiting", within_s=60, what="the wait for the machine")
    run = bench.newest()
    (machine,) = bench.ls()
    folder = run.checkpoints / "step-00000007"
    folder.mkdir(parents=True)
    write_json(folder / "state.json", {})
    write_manifest(folder, 7)
    write_json(run.attempt(1).path / "resume.json", {"from": "latest", "after": "cancelled"})
    bench.machines.boots = True
    _, err = process.communicate(timeout=60)
    assert "KeyError" in err
    assert bench.ls() == []
    status = run.read_status()
    assert (status.state, status.message) == ("failed", f"KeyError: 'state'; {machine['id']} was ended")


def test_a_machine_with_another_host_key_than_it_was_given_is_not_spoken_to(aws_bench: AwsBench) -> None:
    bench = aws_bench
    bench.machines.impostor = True
    process = start(bench)
    wait_until(lambda: bool(bench.machines.hosts), within_s=60, what="the machine to boot")
    log = bench.machines.only().root / "sshd" / "log"
    wait_until(lambda: log.read_text().count("[preauth]") > 1, within_s=60, what="ssh to turn away twice")
    assert bench.phase() == "waiting" and "Accepted publickey" not in log.read_text()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and bench.ls() == []
