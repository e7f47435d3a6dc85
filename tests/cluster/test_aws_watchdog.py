"""The program that ends a rented machine from within, as a real process: its `shutdown` is ours, its hours seconds."""

import ast
import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.launchers import aws_watchdog
from runjob.launchers.aws_keys import HostKey
from runjob.launchers.aws_user_data import MOST_BYTES, user_data
from tests.cluster.ec2 import aws_settings
from tests.conftest import wait_until

PROGRAM = Path(str(aws_watchdog.__file__))


@pytest.fixture
def machine(tmp_path: Path, processes):
    """`machine(most, idle, path=...)` starts the watchdog where `shutdown` writes down what it was told."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def tool(name: str, code: int = 0) -> Path:
        said = tmp_path / f"{name}.said"
        (bin_folder / name).write_text(f'#!/bin/sh\necho "$@" >> {said}\nexit {code}\n')
        (bin_folder / name).chmod(0o755)
        return said

    def start(most: float, idle: float, *, shutdown_code: int = 0) -> tuple[Path, Path]:
        said = tool("shutdown", shutdown_code), tool("poweroff")
        # a process namespace of its own: the watchdog looks at all processes of its machine
        walls = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        seconds = [str(most), str(idle), "0.05"]
        command = [*walls, sys.executable, "-I", PROGRAM, *seconds, tmp_path / "began"]
        processes.start(*command, env={"PATH": f"{bin_folder}:/usr/bin:/bin"})
        return said

    return start


def in_its_namespace(processes, *argv: str) -> "subprocess.Popen[bytes]":
    """A process beside the watchdog, on its machine."""
    walls = processes.started[0].pid
    children = Path(f"/proc/{walls}/task/{walls}/children")
    wait_until(lambda: bool(children.read_text().split()), within_s=60, what="the watchdog to start")
    (inside,) = children.read_text().split()
    return subprocess.Popen(["nsenter", "--target", inside, "--pid", "--mount", *argv])


def test_an_idle_machine_is_ended(machine):
    shutdown, poweroff = machine(1000, 0.3)
    wait_until(shutdown.exists, within_s=60, what="shutdown")
    assert shutdown.read_text().splitlines()[0] == "-h now"
    assert not poweroff.exists()


def test_a_machine_is_ended_after_its_hours_whatever_runs(machine, processes):
    shutdown, _ = machine(1.5, 1000)
    worker = in_its_namespace(processes, "sh", "-c", "sleep 30; : runjob.launchers.supervisor")
    wait_until(shutdown.exists, within_s=60, what="shutdown")
    assert worker.poll() is None
    worker.kill()
    worker.wait()


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-m", "runjob.launchers.supervisor", "/scratch/small-00000000", "1"],
        ["rsync", "--server", ".", "/home/ubuntu/.runjob/inputs"],
        ["python3", "-m", "venv", "/home/ubuntu/env"],
    ],
    ids=["supervisor", "transfer", "installation"],
)
def test_work_keeps_a_machine_and_its_end_ends_it(machine, processes, words):
    shutdown, _ = machine(1000, 0.8)
    worker = in_its_namespace(processes, "sh", "-c", "sleep 1.5", *words)
    assert worker.wait(timeout=10) == 0
    assert not shutdown.exists(), "it was ended while something was at work"
    wait_until(shutdown.exists, within_s=60, what="shutdown")


def test_a_shutdown_that_fails_is_followed_by_a_harder_one_again_and_again(machine):
    shutdown, poweroff = machine(1000, 0.1, shutdown_code=1)
    wait_until(lambda: poweroff.exists() and len(poweroff.read_text().splitlines()) > 1, within_s=60, what="poweroff")
    assert poweroff.read_text().splitlines()[0] == "-f"
    assert len(shutdown.read_text().splitlines()) > 1


def test_a_reboot_does_not_begin_the_hours_anew(machine, tmp_path):
    (tmp_path / "began").write_text("1.0")
    shutdown, _ = machine(3600, 1000)
    wait_until(shutdown.exists, within_s=60, what="shutdown")
    assert (tmp_path / "began").read_text() == "1.0"


def test_user_data_hold_the_host_key_the_watchdog_and_a_belt(tmp_path):
    key = HostKey(private="-----BEGIN\nsecret\n", public="ssh-ed25519 AAAA")
    text = user_data(aws_settings(max_hours=2.5, idle_minutes=20), key)
    assert text.startswith("#cloud-config\n")
    assert len(base64.b64encode(text.encode())) < MOST_BYTES * 4 / 3
    said = json.loads(text.partition("\n")[2])
    assert said["ssh_keys"] == {"ed25519_private": key.private, "ed25519_public": key.public}
    files = {file["path"]: file["content"] for file in said["write_files"]}
    assert files["/opt/runjob/watchdog.py"] == PROGRAM.read_text()
    unit = files["/etc/systemd/system/runjob-watchdog.service"]
    assert "ExecStart=/usr/bin/python3 -I /opt/runjob/watchdog.py 9000 1200 30 /opt/runjob/began\n" in unit
    assert "Restart=always" in unit
    assert said["runcmd"][0] == ["shutdown", "-h", "+160"], "set first: it holds where nothing else starts"
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "apt-get").chmod(0o755)
    installed = subprocess.run(said["runcmd"][1], env={"PATH": f"{tmp_path}:/bin"}, stdout=subprocess.PIPE, check=True)
    update, install = installed.stdout.decode().splitlines()
    assert update.endswith(" update") and " install -y python3-venv " in install
    assert "packages" not in said, "cloud-init installs those before it runs the first command"
    assert said["runcmd"][-1] == ["systemctl", "enable", "--now", "runjob-watchdog.service"]


def test_the_watchdog_is_read_by_the_python_of_old_images():
    ast.parse(PROGRAM.read_text(), feature_version=(3, 7))
