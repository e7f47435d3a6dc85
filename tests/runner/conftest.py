"""The real command line over small programs: a launcher of a third party, found by its entry point, that puts the
program named in SMALL in the place of the training stage. So every command is tested as a user types it, without torch.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_job import small_job

PROGRAM = Path(__file__).parent.parent / "launchers" / "stage_program.py"
PACKAGE = PROGRAM.parent / "nextdoor"
LAUNCHER = """\
import dataclasses
import os

from runjob.launchers.local import LocalLauncher


class Small(LocalLauncher):
    def submit(self, run, plan, attempt):
        argv = ("{{python}}", {program!r}, os.environ["SMALL"], "{{run}}")
        stage = dataclasses.replace(plan.stages[-1], argv=argv, env={{}})
        small = dataclasses.replace(plan, stages=(stage,), stop_deadline_s=20)
        small.write(run)
        return super().submit(run, small, attempt)
"""

# As `nextdoor`, with the program that SMALL names in the place of the training stage.
SMALL_NEXTDOOR = """\
import dataclasses
import os

from nextdoor import Nextdoor


class SmallNextdoor(Nextdoor):
    def submit(self, run, plan, attempt):
        stage = dataclasses.replace(
            plan.stages[-1], argv=("{{python}}", {program!r}, os.environ["SMALL"], "{{run}}"), env={{}}
        )
        small = dataclasses.replace(plan, stages=(stage,), stop_deadline_s=20)
        small.write(run)
        return super().submit(run, small, attempt)
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def job(home) -> Path:
    path = home.path / "small.yaml"
    (home.path / "text.txt").write_text("een twee drie\n")
    path.write_text(small_job())
    return path


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    return install_small(tmp_path / "site")


def install_small(site: Path) -> dict[str, str]:
    """The environment in which `--launcher small` exists, as after a `pip install` of somebody's package."""
    facts = site / "small_launcher-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "small_launcher.py").write_text(LAUNCHER.format(program=str(PROGRAM)))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: small-launcher\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[runjob.launchers]\nsmall = small_launcher:Small\n")
    return {"PYTHONPATH": str(site)}


@pytest.fixture
def small(runjob, plugin, processes) -> Command:
    """`small("exact", "jobs.yaml")`: the command line with the program as its training stage."""

    def run(program: str, *arguments: str | Path, **options: object) -> "subprocess.CompletedProcess[str]":
        return runjob(*arguments, env={**plugin, "SMALL": program}, timeout_s=60, **options)

    return run


@pytest.fixture
def only_run(home) -> Callable[[], Path]:
    def find() -> Path:
        (path,) = [entry for entry in home.runs.iterdir() if not entry.name.startswith(".")]
        return path

    return find


@pytest.fixture
def running(small, job, only_run, wait_until) -> Path:
    """A job that has done its first steps, submitted with --detach."""
    done = small("long", "--launcher", "small", job, "--detach")
    assert done.returncode == 0, done.stderr
    run = only_run()
    progress = run / "progress.json"
    done_two = lambda: progress.exists() and json.loads(progress.read_text())["step"] >= 2  # noqa: E731
    wait_until(done_two, within_s=20, what="two steps")
    return run


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `pip install` leaves it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("nextdoor")
    shutil.copytree(PACKAGE, folder / "source")  # setuptools builds beside the sources
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True, timeout=60)
    return folder / "site"


@pytest.fixture
def nextdoor(tmp_path: Path) -> Path:
    """The other place."""
    folder = tmp_path / "next door"
    folder.mkdir()
    return folder


@pytest.fixture
def env(installed: Path, plugin: dict[str, str], nextdoor: Path) -> dict[str, str]:
    """In which `local`, `small`, `nextdoor` and `small-nextdoor` exist."""
    site = Path(plugin["PYTHONPATH"])
    (site / "small_nextdoor.py").write_text(SMALL_NEXTDOOR.format(program=str(PROGRAM)))
    points = site / "small_launcher-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "small-nextdoor = small_nextdoor:SmallNextdoor\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), str(installed)]), "NEXTDOOR": str(nextdoor)}
