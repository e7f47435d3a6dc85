"""A job that has left a host: whoever was just looking there, or bringing things home, takes nothing back any more."""

from pathlib import Path

import pytest

from runjob.launchers.base import Handle, read_handle
from runjob.launchers.handover import hand_over
from runjob.launchers.ssh import SshLauncher
from runjob.launchers.ssh_fetch import fetch_run
from runjob.launchers.ssh_link import Link
from runjob.schemas.errors import LaunchError
from runjob.schemas.run import RunDir
from tests.cluster.sshd_host import SshHost, write_client
from tests.cluster.test_hostile_places import package  # noqa: F401 - a fixture
from tests.conftest import Home, run_script, wait_until
from tests.end_to_end.conftest import flags
from tests.small_job import small_job


def test_a_look_and_a_fetch_that_come_late_write_nothing(
    home: Home,
    processes,
    package: str,  # noqa: F811
    host: SshHost,
    tmp_path: Path,
):
    (home.path / "text.txt").write_text("een twee drie\n")
    job = home.path / "small.yaml"
    job.write_text(small_job())
    sets = (
        f"hardware.ssh.host={host.alias}",
        f"hardware.ssh.config_file={write_client(tmp_path / 'ssh', host)}",
        f"hardware.ssh.python={host.python}",
    )
    words = (job, "--launcher", "small-ssh", "--detach", *flags(sets))
    done = run_script(home, *words, env={"PYTHONPATH": package}, timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(home.runs / done.stdout.splitlines()[0])
    old = read_handle(run)
    there = host.here(str(old.facts["path"]))
    wait_until(lambda: (there / "model" / "model.safetensors").exists(), within_s=60, what="the end there")
    run.new_attempt()
    hand_over(run, Handle(launcher="local", attempt=2, facts={}))
    run.write_status("pending", attempt=2)
    before = {path.name: path.read_bytes() for path in (run.handle, run.status)}
    SshLauncher()._look(run, old, run.read_status())
    with pytest.raises(LaunchError, match="has gone to another place meanwhile"):
        fetch_run(run, old, Link.from_facts(old.facts), policy="newest", told=lambda line: None)
    assert {path.name: path.read_bytes() for path in (run.handle, run.status)} == before
    assert list(run.checkpoints.glob("step-*")) == []
    assert not run.model.exists()
