"""Real training over ssh: equal to the run that never left this machine, bit for bit where that is promised."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir
from tests.cluster.ports import free_port
from tests.cluster.sshd_host import SshHost, need_ssh_host, ssh_host, write_client
from tests.conftest import Home, make_home, run_script, wait_until
from tests.end_to_end.conftest import assert_same_run, flags, records, write_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[SshHost, SshHost]]:
    need_ssh_host()
    with ssh_host("gpu0") as one, ssh_host("gpu1", rsync=False) as other:
        yield one, other


def submit(home: Home, *words: str | Path, expect: int = 0) -> str:
    done = run_script(home, *words, timeout_s=200)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout.splitlines()[0]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Never left this machine: 2 ranks."""
    home = make_home(tmp_path_factory.mktemp("straight"))
    return RunDir(home.runs / submit(home, write_job(home.path), *flags(("hardware.ranks=2",))))


def block_of(folder: Path, *hosts: SshHost, **more: object) -> str:
    config = write_client(folder / "ssh", *hosts)
    block = {"host": [host.alias for host in hosts], "config_file": str(config), "python": hosts[0].python, **more}
    return f"hardware.ssh={json.dumps(block)}"


def test_a_job_begun_on_a_host_and_gone_on_with_here_equals_the_one_that_stayed(
    tmp_path: Path, hosts: tuple[SshHost, SshHost], straight: RunDir
):
    home = make_home(tmp_path)
    sets = flags((block_of(tmp_path, hosts[0]), "hardware.ranks=2", "training.stop_after=10 steps"))
    run = RunDir(home.runs / submit(home, "--launcher", "ssh", write_job(home.path), *sets, expect=75))
    assert run.latest.read_text().strip() == "step-00000010"
    submit(home, "resume", run.id, "--launcher", "local")
    assert_same_run(run, straight)


def test_two_hosts_train_one_job_and_it_goes_on_with_both(
    tmp_path: Path, hosts: tuple[SshHost, SshHost], straight: RunDir
):
    home = make_home(tmp_path)
    block = block_of(tmp_path, *hosts, master_port=free_port())
    sets = flags((block, "hardware.nodes=2", "hardware.ranks=1", "training.stop_after=10 steps"))
    run = RunDir(home.runs / submit(home, "--launcher", "ssh", write_job(home.path), *sets, expect=75))
    submit(home, "resume", run.id)
    assert [(one["step"], one["batch"]) for one in records(run, "train")] == [
        (one["step"], one["batch"]) for one in records(straight, "train")
    ]
    for mine, theirs in zip(records(run, "train", "eval"), records(straight, "train", "eval"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    # the first node says that all is done; the other one's supervisor may still be on its way out
    for host in hosts:
        nobody = lambda host=host: not [line for line in host.commands() if run.id in line]  # noqa: E731
        wait_until(nobody, within_s=60, what="no process of the run on either host")
