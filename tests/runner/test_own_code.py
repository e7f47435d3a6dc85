"""A run of an earlier runjob is looked at, resumed and changed by a later one, and goes on with its own code."""

import json
from pathlib import Path

import pytest

from runjob.schemas.frozen import sum_of
from runjob.schemas.schema import BUNDLE

LOCAL = ("--launcher", "small")


@pytest.fixture
def earlier(small, job, only_run) -> Path:
    """A run that was paused, made when nobody knew `output.remote`, companions or `evaluation.also_hide`."""
    small("pause", job, *LOCAL)
    run = only_run()
    raw = json.loads((run / "job.json").read_text())
    schema_file = run / "code" / "runjob" / "schemas" / BUNDLE
    schema = json.loads(schema_file.read_text())
    for section, name in (("output", "remote"), ("evaluation", "also_hide"), ("hardware", "slurm")):
        del raw["job"][section][name], raw["origins"][f"{section}.{name}"]
        del schema["$defs"][section]["properties"][name]
    del raw["sha256"]
    (run / "job.json").write_text(json.dumps(raw))
    schema_file.write_text(json.dumps(schema))
    facts = json.loads((run / "code" / "CODE.json").read_text())
    facts["sha256"] = sum_of(run / "code" / "runjob")
    (run / "code" / "CODE.json").write_text(json.dumps(facts))
    return run


def test_a_run_of_an_earlier_runjob_is_listed_explained_and_resumed(small, earlier: Path):
    assert earlier.name in small("", "ps").stdout
    for command in ("status", "why", "logs", "cancel", "fetch"):
        done = small("", command, "latest")
        assert (done.returncode, done.stderr) == (0, ""), command
    done = small("exact", "resume", "latest", *LOCAL)
    assert done.returncode == 0, done.stderr
    assert "bit-identical" in done.stdout
    written = json.loads((earlier / "job.json").read_text())
    assert written["job"]["output"]["remote"] is None
    assert written["origins"]["output.remote"] == written["origins"]["hardware.slurm"] == "added since: default"
    assert written["origins"]["seed"] == "default"
    assert "companions" not in json.loads((earlier / "plan.json").read_text())


def test_a_field_that_the_runs_own_code_lacks_is_refused_on_resume_before_an_attempt_exists(small, earlier: Path):
    done = small("exact", "resume", "latest", *LOCAL, "--set", "output.remote=s3://bucket/runs")
    assert done.returncode == 2
    assert "--set output.remote: the code that this run began with (runjob " in done.stderr
    assert "knows no such field, and a run keeps its code; start a new job for that" in done.stderr
    assert [path.name for path in (earlier / "attempts").iterdir()] == ["1"]


def test_what_launchers_read_may_be_younger_than_the_run(small, earlier: Path):
    done = small("exact", "resume", "latest", *LOCAL, "--set", "hardware.slurm={partition: gpu}")
    assert done.returncode == 0, done.stderr
    written = json.loads((earlier / "job.json").read_text())
    assert written["job"]["hardware"]["slurm"]["partition"] == "gpu"
    assert written["origins"]["hardware.slurm.partition"] == "added since: --set"


def test_a_run_of_a_later_runjob_names_its_version_and_is_still_listed(small, earlier: Path):
    raw = json.loads((earlier / "job.json").read_text())
    raw["job"]["training"]["warp"] = 9
    raw["origins"]["training.warp"] = "job.yaml:3:5"
    (earlier / "job.json").write_text(json.dumps(raw))
    refused = small("exact", "resume", "latest", *LOCAL)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert "training.warp is not known to runjob" in refused.stderr
    for command in ("ps", "status", "why"):
        words = () if command == "ps" else ("latest",)
        assert small("", command, *words).returncode == 0
