"""docs/ci/runjob.yml, which people copy: GitHub would take it, and its own steps do what they say in an environment
that has no more than the workflow installs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Home
from tests.small_job import small_job

WORKFLOW = ROOT / "docs" / "ci" / "runjob.yml"
PARSED = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
STEPS = {step["name"]: step["run"] for step in PARSED["jobs"]["validate"]["steps"] if "run" in step}
# `-S`: nothing of the environment's packages is found but what PYTHONPATH names
PROGRAM = "import sys; from runjob.runner.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def lean(home, tmp_path: Path) -> Home:
    """PyYAML and runjob without its dependencies, as after the step `install`."""
    site, bin_ = tmp_path / "site", tmp_path / "bin"
    (site / "runjob").mkdir(parents=True)
    bin_.mkdir()
    for folder in ("schemas", "launchers", "data", "runner"):
        (site / "runjob" / folder).symlink_to(ROOT / folder)
    (site / "yaml").symlink_to(Path(yaml.__file__).parent)
    (bin_ / "runjob").write_text(f'#!/bin/sh\nexec {sys.executable} -S -c "{PROGRAM}" "$@"\n')
    (bin_ / "runjob").chmod(0o755)
    (home.path / "jobs").mkdir()
    (home.path / "jobs" / "good.yaml").write_text(small_job())
    path = f"{bin_}:{home.env['PATH']}"
    env = {**home.env, "PATH": path, "PYTHONPATH": str(site), "JOBS": PARSED["env"]["JOBS"]}
    return Home(path=home.path, runs=home.runs, cache=home.cache, env=env)


def step(name: str, place: Home) -> "subprocess.CompletedProcess[str]":
    """As GitHub runs it."""
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]]
    return subprocess.run(argv, cwd=place.path, env=place.env, capture_output=True, text=True, check=False)


def test_github_would_take_the_workflow():
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_workflow_installs_what_its_steps_need_and_they_pass_on_good_jobs(lean):
    assert STEPS["install"] == 'pip install --no-deps "$RUNJOB" && pip install pyyaml'
    done = step("beside the lines", lean)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert step("as a list of alerts", lean).returncode == 0
    assert json.loads((lean.path / "runjob.sarif").read_text())["runs"][0]["results"] == []


def test_a_mistake_fails_the_first_step_and_still_reaches_the_list(lean):
    (lean.path / "jobs" / "bad.yaml").write_text(small_job().replace("clm", "clmm"))
    done = step("beside the lines", lean)
    assert done.returncode == 2
    assert done.stdout.startswith("::error file=jobs/bad.yaml,line=16,col=19::objective.kind: unknown kind `clmm`")
    assert step("as a list of alerts", lean).returncode == 0
    (result,) = json.loads((lean.path / "runjob.sarif").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "jobs/bad.yaml"
