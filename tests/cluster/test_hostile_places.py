"""Spaces, quotes, semicolons, line breaks and $(...) in every path and text that goes to a real place: it trains there,
and no shell, neither here nor there, has read any of it. Nor does a secret of the environment come to lie in a file,
here, there or with Slurm. Small programs stand for the training."""

import json
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.slurm_cluster import Cluster
from tests.cluster.sshd_host import SshHost, write_client
from tests.conftest import Home, run_script
from tests.end_to_end.conftest import flags
from tests.launchers.helpers import PROGRAM
from tests.planted import CLOUD, PLANTED, files_with, processes_with
from tests.small_job import small_job

HOSTILE = "a b'c\"d;touch pwned;$(touch pwned)`touch pwned`|&<>*?{run}~\\"
SECRETS = (*PLANTED.values(), *CLOUD.values())
LINES = f"{HOSTILE}\ntouch pwned\n"
# The launchers as they are, with a program that goes over in the code of the run in the place of the training stage.
PACKAGE = """\
import dataclasses
import shutil

from runjob.launchers.slurm import SlurmLauncher
from runjob.launchers.ssh import SshLauncher


def small(run, plan):
    shutil.copyfile({program!r}, run.code / "stage_program.py")
    argv = ("{{python}}", "{{run}}/code/stage_program.py", "exact", "{{run}}")
    stage = dataclasses.replace(plan.stages[-1], argv=argv)
    plan = dataclasses.replace(plan, stages=(stage,), stop_deadline_s=20)
    plan.write(run)
    return plan


class SmallSsh(SshLauncher):
    def submit(self, run, plan, attempt):
        return super().submit(run, small(run, plan), attempt)


class SmallSlurm(SlurmLauncher):
    def submit(self, run, plan, attempt):
        return super().submit(run, small(run, plan), attempt)
"""


@pytest.fixture
def package(tmp_path: Path) -> str:
    facts = tmp_path / "site" / "small_places-1.0.dist-info"
    facts.mkdir(parents=True)
    (tmp_path / "site" / "small_places.py").write_text(PACKAGE.format(program=str(PROGRAM)))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: small-places\nVersion: 1.0\n")
    points = "[runjob.launchers]\nsmall-ssh = small_places:SmallSsh\nsmall-slurm = small_places:SmallSlurm\n"
    (facts / "entry_points.txt").write_text(points)
    return str(tmp_path / "site")


def order(home: Home, launcher: str, env: dict[str, str], *sets: str) -> RunDir:
    """One job with hostile names and texts, from a hostile home with secrets in its environment, to its end."""
    odd = home.path / LINES
    (odd / "runs").mkdir(parents=True)
    corpus = odd / f"text {HOSTILE}.txt"
    corpus.write_text("een twee drie\n")
    job = home.path / "small.yaml"
    job.write_text(small_job())
    env = {**env, **PLANTED, **CLOUD, "RUNJOB_HOME": str(odd / "runs")}
    texts = {"data.path": str(corpus), "output.description": LINES, "output.license": HOSTILE}
    quoted = [f"{path}={json.dumps(text)}" for path, text in texts.items()]
    prompts = f"evaluation.prompts=[{json.dumps(LINES)}]"
    done = run_script(home, job, "--launcher", launcher, *flags((*quoted, prompts, *sets)), env=env, timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (odd / "runs").iterdir()
    for command in (("ps",), ("status", "latest"), ("logs", "latest"), ("why", "latest"), ("fetch", "latest")):
        looked = run_script(home, *command, env=env)
        assert looked.returncode == 0, looked.stderr
    assert run_script(home, "status", LINES, env=env).returncode == 1
    run = RunDir(path)
    assert read_json(run.job)["job"]["output"]["description"] == LINES
    assert (run.model / "model.safetensors").is_file()
    assert list(home.path.rglob("pwned")) == []
    assert files_with(SECRETS, home.path.parent) == []
    # a connection that stays open for the next question is one of ours; it may need the cloud to find its host
    assert list(processes_with(PLANTED.values(), "environ")) == []
    assert list(processes_with(SECRETS, "cmdline")) == []
    return run


def test_over_ssh(home: Home, processes, package: str, host: SshHost, tmp_path: Path):
    sets = (
        f"hardware.ssh.host={host.alias}",
        f"hardware.ssh.config_file={write_client(tmp_path / 'ssh', host)}",
        f"hardware.ssh.python={host.python}",
        f"hardware.ssh.folder={json.dumps(f'~/{HOSTILE}')}",
    )
    order(home, "small-ssh", {"PYTHONPATH": package}, *sets)
    there = host.home / HOSTILE
    assert len(list((there / "runs").iterdir())) == 1
    assert [path.name for path in (there / "inputs").rglob("*.txt")] == [f"text {HOSTILE}.txt"]
    assert list(host.root.rglob("pwned")) == []
    assert files_with(SECRETS, host.home, host.root / "sshd") == []
    private = [there, *there.iterdir(), *(there / "runs").iterdir()]
    assert [path for path in private if path.stat().st_mode & 0o077] == []


def test_on_slurm(home: Home, processes, package: str, cluster: Cluster):
    folder = cluster.shared / HOSTILE.replace("\\", "")  # Slurm reads a backslash in the path of a log
    sets = (f"hardware.slurm.folder={json.dumps(str(folder))}", f"hardware.slurm.python={cluster.python}")
    order(home, "small-slurm", {"PYTHONPATH": package, "SLURM_CONF": cluster.env["SLURM_CONF"]}, *sets)
    assert [path.name for path in (folder / "inputs").rglob("*.txt")] == [f"text {HOSTILE}.txt"]
    assert list(cluster.folder.rglob("pwned")) == []
    spooled = [path for path in (cluster.folder / "state").rglob("environment") if b"SLURM" in path.read_bytes()]
    assert spooled, "the environments of jobs are kept elsewhere now"
    assert files_with(SECRETS, cluster.folder) == []
