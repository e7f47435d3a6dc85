"""What can be wrong with a host, and what a user reads of it: where, what and what to do, before anything starts."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.ssh_bench import SshBench, make_bench
from tests.cluster.sshd_host import SshHost, need_ssh_host, ssh_host, write_client
from tests.conftest import Home, Processes


@pytest.fixture(scope="module")
def host() -> Iterator[SshHost]:
    need_ssh_host()
    with ssh_host(env={"GREETING": "hello"}) as running:
        yield running


@pytest.fixture
def bench(home: Home, processes: Processes, host: SshHost) -> SshBench:
    return make_bench(home, processes, host, write_client)


def refused(bench: SshBench, **block: object) -> str:
    """What is said of a submission that ends with 2 and leaves no run behind."""
    done = bench.submit("exact", **block)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(bench.home.runs.iterdir()) == []
    return done.stderr


def test_no_such_host(bench: SshBench):
    said = refused(bench, host="nowhere.invalid")
    assert "nowhere.invalid: no such host" in said
    assert "`ssh nowhere.invalid` must work" in said


def test_a_key_that_the_host_does_not_know(bench: SshBench):
    identity = bench.config.parent / "id_gpu0"
    identity.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(identity)], check=True)
    said = refused(bench)
    assert "gpu0: it refuses this user's key" in said
    assert "authorized_keys" in said


def test_a_host_key_that_has_changed_is_never_accepted(bench: SshBench):
    known = bench.config.parent / "known_hosts"
    other = (bench.config.parent / "other.pub").with_suffix("")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    known.write_text(f"gpu0 {other.with_suffix('.pub').read_text()}")
    before = known.read_text()
    said = refused(bench)
    assert "its host key is not the one that is known" in said
    assert "ssh-keygen -R gpu0" in said
    assert known.read_text() == before


def test_a_host_key_that_nobody_knows_is_never_accepted_whatever_the_configuration_says(bench: SshBench, host: SshHost):
    lax = write_client(bench.config.parent, host, strict=False)
    known = lax.parent / "known_hosts"
    known.write_text("")
    assert "its host key is not known; connect once by hand" in refused(bench)
    assert known.read_text() == ""


def test_python_missing_there(bench: SshBench):
    said = refused(bench, python="/opt/no; such/python")
    assert "there is no /opt/no; such/python that can be started" in said
    assert "hardware.ssh.python" in said


def test_python_there_is_too_old_and_another_lacks_the_packages(bench: SshBench, host: SshHost):
    old = host.home / "old-python"
    pretend = "import sys; sys.version_info = (3, 9, 2); sys.argv = sys.argv[1:]; exec(sys.argv[0])"
    old.write_text(f'#!/bin/sh\nexec python3 -c "{pretend}" "$3" "$4" "$5" "$6"\n')
    old.chmod(0o755)
    said = refused(bench, python=f"{Path.home()}/old-python")
    assert "is Python 3.9.2 and runjob needs 3.11 or later" in said
    bare = refused(bench, python="/usr/bin/python3")
    assert "/usr/bin/python3 lacks torch, transformers" in bare
    assert "leave hardware.ssh.python out" in bare


def test_a_folder_that_cannot_be_written_to(bench: SshBench):
    said = refused(bench, folder="/proc/runjob")
    assert "the folder /proc/runjob can't be written to" in said
    assert "hardware.ssh.folder" in said


@pytest.mark.parametrize("rsync", [True, False], ids=["rsync", "tar"])
def test_a_disk_that_is_full_there_is_said_and_the_job_goes_there_once_there_is_room(
    bench: SshBench, host: SshHost, rsync: bool
):
    full = host.home / "full"
    full.mkdir(exist_ok=True)
    inside = f"{Path.home()}/full"
    host.run("mount", "-t", "tmpfs", "-o", "size=210m", "none", inside)
    try:
        (bench.home.path / "text.txt").write_bytes(b"een twee drie\n" * 20_000_000)
        if not rsync:
            host.run("mount", "--bind", "/dev/null", "/usr/bin/rsync")
        done = bench.submit("exact", "--detach", folder=inside)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "gpu0: the disk there is full" in done.stderr
        assert "Traceback" not in done.stderr
        host.run("mount", "-o", "remount,size=600m", inside)
        again = bench.runjob("resume", "latest", "--launcher", "smallssh", small="exact")
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        if not rsync:
            host.run("umount", "/usr/bin/rsync")
        host.run("umount", "--lazy", inside)


def test_a_disk_that_is_nearly_full_is_refused_at_once(bench: SshBench, host: SshHost):
    (host.home / "small").mkdir()
    host.run("mount", "-t", "tmpfs", "-o", "size=50m", "none", f"{Path.home()}/small")
    assert re.search(r"only \d\d MB are free where .*/small is", refused(bench, folder=f"{Path.home()}/small"))


def test_everything_that_is_wrong_is_said_at_once(bench: SshBench):
    said = refused(bench, python="/usr/bin/python3", folder="/proc/runjob")
    assert "lacks torch" in said
    assert "can't be written to" in said


def test_a_login_that_greets_is_no_hindrance(bench: SshBench, host: SshHost):
    (host.home / ".bashrc").write_text("echo Welcome to gpu0\n")
    try:
        done = bench.submit("exact")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        (host.home / ".bashrc").unlink()


def test_the_plan_shows_how_each_host_is_called_and_asks_nobody(bench: SshBench, host: SshHost):
    host.kill_sshd()
    try:
        block = json.dumps(bench.block)
        done = bench.runjob("plan", bench.job, "--set", f"hardware.ssh={block}", "--launcher", "ssh")
    finally:
        host.start_sshd()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node 0: ssh -F " in done.stdout
    assert "StrictHostKeyChecking=yes" in done.stdout
    assert "-- gpu0" in done.stdout
    assert host.python in done.stdout
