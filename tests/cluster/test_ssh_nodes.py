"""A job on two hosts, of which one loses its supervisor: the first says so within seconds, and `why` names the host."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.ssh_bench import SshBench, make_bench
from tests.cluster.sshd_host import SshHost, free_port, need_ssh_host, ssh_host, write_client
from tests.conftest import Home, Processes, wait_until


@pytest.fixture
def hosts() -> Iterator[tuple[SshHost, SshHost]]:
    need_ssh_host()
    with ssh_host("gpu0") as one, ssh_host("gpu1") as other:
        yield one, other


@pytest.fixture
def bench(home: Home, processes: Processes, hosts: tuple[SshHost, SshHost]) -> SshBench:
    def write(folder: Path, host: SshHost) -> Path:
        return write_client(folder, *hosts)

    return make_bench(home, processes, hosts[0], write, master_port=free_port())


def test_a_helper_whose_supervisor_is_killed_ends_the_job_and_is_named(bench: SshBench, hosts: tuple[SshHost, SshHost]):
    both = [host.alias for host in hosts]
    done = bench.submit("sleep", "--detach", "--set", "hardware.nodes=2", host=both)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(bench.home.runs / done.stdout.splitlines()[0])
    log = run.attempt(1).supervisor_log
    wait_until(lambda: bool(bench.look(run)) and "node 1 has called" in log.read_text(), within_s=30, what="the call")
    helper = hosts[1].home / ".runjob" / "runs" / run.id
    began = time.monotonic()
    hosts[1].run("kill", "-9", str(read_json(helper / "handle.json")["pid"]))
    bench.wait_for(run, "failed", within_s=30)
    assert time.monotonic() - began < 25
    why = bench.runjob("why", run.id).stdout
    assert f"{run.id} is failed: node 1 (gpu1) is gone without a word: its supervisor was killed" in why
    assert not [line for host in hosts for line in host.commands() if run.id in line]
