"""Jobs that go to a real host over ssh, without torch: a launcher by entry point that is the one of `--launcher ssh`
but for the training stage, a small program in its place. Everything else is typed and answered as a user sees it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runjob.schemas.run import RunDir
from tests.cluster.sshd_host import SshHost
from tests.conftest import Home, Processes, run_script, wait_until
from tests.small_job import small_job

PROGRAM = Path(__file__).parent.parent / "launchers" / "stage_program.py"
LAUNCHER = """\
import dataclasses
import os
from pathlib import Path

from runjob.launchers.ssh import SshLauncher


class SmallSsh(SshLauncher):
    def submit(self, run, plan, attempt):
        argv = ("{{python}}", "-c", Path({program!r}).read_text(), os.environ["SMALL"], "{{run}}")
        env = {{"PYTHONPATH": "{{run}}/code", "PYTHONSAFEPATH": "1"}}
        stage = dataclasses.replace(plan.stages[-1], argv=argv, env=env)
        small = dataclasses.replace(plan, stages=(stage,), stop_deadline_s=20)
        small.write(run)
        return super().submit(run, small, attempt)
"""


@dataclass(frozen=True, kw_only=True)
class SshBench:
    """Where a test submits and looks. `block` is the job's hardware.ssh, to which a test may add."""

    home: Home
    config: Path
    processes: Processes
    block: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def job(self) -> Path:
        return self.home.path / "small.yaml"

    def runjob(self, *words: str | Path, small: str = "", **options: Any) -> "subprocess.CompletedProcess[str]":
        return run_script(self.home, *words, env={**self.env, "SMALL": small}, timeout_s=90, **options)

    def words(self, **block: Any) -> list[str]:
        return ["--set", f"hardware.ssh={json.dumps({**self.block, **block})}", "--launcher", "smallssh"]

    def submit(self, small: str, *words: str, **block: Any) -> "subprocess.CompletedProcess[str]":
        return self.runjob(self.job, *words, *self.words(**block), small=small)

    def start(self, small: str = "long", **block: Any) -> RunDir:
        """A job that has done its first steps there, as home knows by asking."""
        done = self.submit(small, "--detach", **block)
        assert done.returncode == 0, done.stdout + done.stderr
        run = RunDir(self.home.runs / done.stdout.splitlines()[0])
        wait_until(lambda: (self.look(run)["step"] or 0) >= 2, within_s=30, what="two steps")
        return run

    def look(self, run: RunDir) -> dict[str, Any]:
        """`runjob status --json`."""
        done = self.runjob("status", run.id, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for(self, run: RunDir, *states: str, within_s: float = 70) -> dict[str, Any]:
        wait_until(lambda: self.look(run)["state"] in states, within_s=within_s, what=f"{run.id} to be {states}")
        return self.look(run)


def make_bench(home: Home, processes: Processes, host: SshHost, write: Callable[..., Path], **block: Any) -> SshBench:
    """`write` makes the user's ssh configuration (tests/cluster/sshd_host.py)."""
    site = home.path.parent / "site"
    facts = site / "small_ssh-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "small_ssh.py").write_text(LAUNCHER.format(program=str(PROGRAM)))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: small-ssh\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[runjob.launchers]\nsmallssh = small_ssh:SmallSsh\n")
    (home.path / "small.yaml").write_text(small_job())
    (home.path / "text.txt").write_text("een twee drie\n")
    config = write(home.path.parent / "user's ssh", host)
    named = {"host": host.alias, "config_file": str(config), "python": host.python}
    return SshBench(
        home=home, config=config, processes=processes, block={**named, **block}, env={"PYTHONPATH": str(site)}
    )


def train_steps(run: RunDir) -> list[int]:
    return [record["step"] for record in run.read_events() if record["event"] == "train"]
