"""The line to a host breaks while a job runs there: the job goes on, and whoever looks is told since when."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir
from tests.cluster.ssh_bench import SshBench, make_bench, train_steps
from tests.cluster.sshd_host import SshHost, need_ssh_host, ssh_host, write_client
from tests.conftest import Home, Processes, wait_until


@pytest.fixture(scope="module")
def host() -> Iterator[SshHost]:
    """With an address and a cable of its own; without rsync, so all went there as a tar."""
    need_ssh_host()
    with ssh_host(network=True, rsync=False) as running:
        yield running


@pytest.fixture
def bench(home: Home, processes: Processes, host: SshHost) -> SshBench:
    return make_bench(home, processes, host, write_client)


def events_there(host: SshHost, run: RunDir) -> int:
    return len((host.home / ".runjob" / "runs" / run.id / "events.jsonl").read_text().splitlines())


def test_a_cable_is_pulled_and_plugged_in_again(host: SshHost, bench: SshBench):
    run = bench.start("long")
    host.pull_cable()
    try:
        began = time.monotonic()
        away = bench.wait_for(run, "unreachable", within_s=30)
        assert time.monotonic() - began < 20
        assert re.match(r"unreachable since \d\d:\d\d:\d\d \(last sign \d\d:\d\d:\d\d\): gpu0: ", away["message"])
        reached = events_there(host, run)
        wait_until(lambda: events_there(host, run) > reached, what="the job to go on")
        said = bench.runjob("cancel", run.id)
        assert said.returncode == 0
        assert "unreachable" in said.stdout
        assert f"{run.id}: unreachable, at step " in bench.runjob("why", run.id).stdout
        assert "Traceback" not in said.stderr
    finally:
        host.plug_cable()
    ended = bench.wait_for(run, "cancelled", within_s=40)
    assert ended["step"] == len(train_steps(run)) == events_there(host, run), "the wish to stop was heard later"


def test_a_host_that_takes_connections_and_never_answers_delays_nobody_for_long(host: SshHost, bench: SshBench):
    run = bench.start("long")
    host.freeze_sshd()
    try:
        began = time.monotonic()
        assert bench.look(run)["state"] == "unreachable"
        assert time.monotonic() - began < 12
    finally:
        host.thaw_sshd()
    bench.wait_for(run, "running", within_s=30)
    bench.runjob("cancel", run.id)
    assert bench.look(run)["state"] == "cancelled"


def test_what_broke_off_on_its_way_home_goes_on(host: SshHost, bench: SshBench, tmp_path: Path):
    """A fetch whose line breaks leaves nothing half-made under a whole name, and the next one ends it."""
    done = bench.submit("exact", "--detach")
    assert done.returncode == 0, done.stderr
    run = RunDir(bench.home.runs / done.stdout.splitlines()[0])
    bench.wait_for(run, "finished")
    big = host.home / ".runjob" / "runs" / run.id / "model" / "big.safetensors"
    big.write_bytes(b"0123456789abcdef" * 2_000_000)
    host.pull_cable()
    try:
        broken = bench.runjob("fetch", run.id)
        assert broken.returncode == 1
        assert not (run.model / "big.safetensors").exists()
        assert "Traceback" not in broken.stderr
    finally:
        host.plug_cable()
    command = ["bash", "-c", 'trap "" XFSZ; ulimit -f 100; exec runjob fetch "$1"', "_", run.id]
    full = bench.processes.start(*command, env=bench.env)  # a limit on the size of files stands for a full disk here
    _, err = full.communicate(timeout=60)
    assert (full.returncode, "can't be written here" in err, "Traceback" in err) == (1, True, False), err
    whole = bench.runjob("fetch", run.id)
    assert whole.returncode == 0, whole.stderr
    assert (run.model / "big.safetensors").read_bytes() == big.read_bytes()
    assert run.latest.read_text().strip() == "step-00000020"
