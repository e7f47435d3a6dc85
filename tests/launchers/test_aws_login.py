"""ssh's configuration for a rented machine, read by ssh itself: whatever RUNJOB_HOME is called."""

import subprocess
from pathlib import Path

import pytest

from runjob.launchers.aws_keys import login_key
from runjob.launchers.aws_login import expect_host, write_login
from runjob.schemas.run import RunDir
from tests.cluster.ec2 import aws_settings

NAMES = [
    "plain",
    "a b",
    "it's",
    'a "b"',
    "a;touch pwned;b",
    "$(touch pwned)",
    "100%h",
    "${HOME}",
    "a\nb",
    "~root",
    "#x",
    "é",
]


@pytest.mark.parametrize("name", NAMES)
def test_ssh_finds_key_and_host_key_whatever_the_home_is_called(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / "runs"
    home.mkdir(parents=True)
    run = RunDir.create(home, "small")
    theirs = tmp_path / name / "their config"
    theirs.write_text("Host 54.1.2.3\n  Port 2222\n  User somebody\nHost *\n  StrictHostKeyChecking no\n")
    key = login_key(home)
    expect_host(run, "ssh-ed25519 AAAA")
    settings = aws_settings(config_file=str(theirs), user="ubuntu")
    ssh = write_login(run, settings, key, "54.1.2.3")
    assert ssh.config_file is not None
    said = subprocess.run(
        ["ssh", "-F", ssh.config_file, "-o", "StrictHostKeyChecking=yes", "-G", "54.1.2.3"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    found = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert (found["user"], found["port"], found["hostkeyalias"]) == ("ubuntu", "2222", run.id)
    assert Path(found["identityfile"]).read_text() == key.private.read_text()
    assert Path(found["userknownhostsfile"]).read_text() == f"{run.id} ssh-ed25519 AAAA\n"
    assert found["stricthostkeychecking"] in ("true", "yes")
    assert not (tmp_path / "pwned").exists()
