"""A small job for a rented machine, and what a user of --launcher aws has around it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.run import RunDir, read_json
from tests.cluster.ec2 import IMAGE, REGION, Amazon
from tests.cluster.ec2_machines import PYTHON, Machines
from tests.conftest import SCRIPT, Home, Processes, Runjob, wait_until

SETTINGS = {
    "instance": "m7i.large",
    "max_hours": 2,
    "region": REGION,
    "image": IMAGE,
    "user": "root",
    "from_address": "203.0.113.7/32",
    "python": PYTHON,
    "folder": "~/.runjob",
}


@dataclass(frozen=True, kw_only=True)
class AwsBench:
    home: Home
    script: Runjob
    processes: Processes
    aws: Amazon
    machines: Machines
    job: Path
    env: dict[str, str]
    program: Path = SCRIPT

    def runjob(self, *words: str | Path) -> Any:
        return self.script(*words, env=self.env)

    def ls(self) -> list[dict[str, Any]]:
        done = self.runjob("aws", "ls", "--json", "--region", REGION)
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def json(self, *words: str) -> dict[str, Any]:
        done = self.runjob(*words, "--json")
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def until(self, run: RunDir, state: str) -> dict[str, Any]:
        """What `status` says once it says this."""
        said: dict[str, Any] = {}

        def asked() -> bool:
            said.update(self.json("status", run.id))
            return bool(said["state"] == state)

        wait_until(asked, within_s=120, what=f"{run.id} to be {state}")
        return said

    def change_job(self, **changes: Any) -> None:
        """Other values in the block of the job file."""
        head, mark, rest = self.job.read_text(encoding="utf-8").partition("aws: ")
        block, end = json.JSONDecoder().raw_decode(rest)
        self.job.write_text(f"{head}{mark}{json.dumps({**block, **changes})}{rest[end:]}", encoding="utf-8")

    def runs(self) -> list[RunDir]:
        return [RunDir(path) for path in self.home.runs.iterdir() if not path.name.startswith(".")]

    def newest(self) -> RunDir:
        (run,) = self.runs()
        return run

    def phase(self) -> str:
        runs = [path for path in self.home.runs.iterdir() if not path.name.startswith(".")]
        return str(read_json(runs[0] / "handle.json").get("phase", "")) if runs and has_handle(runs[0]) else ""


def has_handle(run: Path) -> bool:
    return (run / "handle.json").exists()


def write_aws_job(path: Path, config: Path, **changes: Any) -> Path:
    """The small job of the end-to-end tests with a block for Amazon."""
    block = {**SETTINGS, "config_file": str(config), **changes}
    text = path.read_text(encoding="utf-8")
    hardware = "hardware: {device: cpu, ranks: 1, threads: 1"
    assert hardware in text
    path.write_text(text.replace(hardware, f"{hardware}, aws: {json.dumps(block)}"), encoding="utf-8")
    return path
