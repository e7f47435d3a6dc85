"""A job that starts from an earlier run, through the real command line over small programs: which run is meant is
settled once. That real weights are loaded is tests/end_to_end/test_from_run.py's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from runjob.launchers.staging_inputs import find_inputs, moved
from runjob.runner.from_run import name_in
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, read_json
from runjob.schemas.weights import weights_sha256
from tests.conftest import ROOT
from tests.small_job import small_job

LOCAL = ("--launcher", "small", "--quiet")
SCRATCH = small_job().partition("  init:\n")[2].partition("objective:")[0]


@pytest.fixture
def second(home) -> Path:
    """The smallest job, from the newest run of the one called `first` beside it."""
    (home.path / "text.txt").write_text("een twee drie\n")
    (home.path / "first.yaml").write_text(small_job().replace("name: small", "name: first"))
    text = small_job().replace("name: small", "name: second").replace(SCRATCH, "    {kind: run, id: first@latest}\n")
    text = text.replace("{kind: train, algorithm: bpe, vocab_size: 512}", "{kind: pretrained, path: run:first@latest}")
    (home.path / "second.yaml").write_text(text)
    return home.path / "second.yaml"


@pytest.fixture
def first(small, second, home):
    """`first()` makes another run of it, with a model of its own."""

    def make(*, family: str = "gpt2", model: bool = True) -> RunDir:
        done = small("exact", "first.yaml", *LOCAL)
        assert done.returncode == 0, done.stderr
        run = RunDir(home.runs / done.stdout.split()[0])
        shutil.rmtree(run.model)
        if model:
            run.model.mkdir()
            (run.model / "config.json").write_text(json.dumps({"model_type": family, "vocab_size": 8}))
            weight = np.full(8, len(list(home.runs.iterdir())), "float32")
            save_file({"weight": weight}, run.model / "model.safetensors")
        return run

    return make


def newest(home, name: str) -> RunDir:
    (found,) = [path for path in home.runs.iterdir() if path.name.startswith(f"{name}-")]
    return RunDir(found)


def test_a_run_that_is_not_there_is_refused_with_the_command_that_makes_one(small, second, home):
    done = small("exact", second, *LOCAL)
    assert (done.returncode, done.stdout) == (2, "")
    said = f"no such job under {home.runs}; this makes one: runjob {second.parent / 'first.yaml'}"
    assert done.stderr.splitlines() == [
        f"{second}:7:39: data.tokenizer.path: first@latest: {said}",
        f"{second}:10:21: model.init.id: first@latest: {said}",
    ]
    assert list(home.runs.iterdir()) == []
    shipped = small("exact", second, *LOCAL, "--set", "model.init.id=gpt2_dutch_tiny@latest").stderr
    assert f"this makes one: runjob {ROOT / 'jobs' / 'tiny' / 'gpt2_dutch.yaml'}" in shipped
    nobodys = small("exact", second, *LOCAL, "--set", "model.init.id=other-1a2b3c4d").stderr
    assert "this makes one: runjob JOB.yaml, of a job file that says `name: other`" in nobodys


def test_a_job_from_a_run_that_is_not_there_is_valid_and_planned(runjob, second):
    assert runjob("validate", second).stdout == f"{second}: valid\n"
    done = runjob("plan", second)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "model          weights of the run first@latest" in lines
    assert len([line for line in lines if line.startswith("missing here   ") and "no such job" in line]) == 2
    cells = runjob("plan", second, "--set", "matrix.seed=[1, 2]").stdout
    assert cells.count("missing here") == 2


def test_which_run_is_meant_is_settled_at_submission_and_never_anew(small, first, second, home, runjob):
    older = first()
    assert small("pause", second, *LOCAL).returncode == 75
    run = newest(home, "second")
    job = read_json(run.job)
    expected = {
        "kind": "run",
        "id": older.id,
        "path": str(older.model),
        "revision": weights_sha256(older.model),
    }
    assert job["job"]["model"]["init"] == expected
    assert job["job"]["data"]["tokenizer"]["path"] == str(older.model)
    assert job["origins"]["model.init.id"] == f"{second}:10:21"
    assert job["origins"]["model.init.revision"] == "the run, at submission"
    newer = first()
    assert small("exact", "resume", run.id, *LOCAL).returncode == 0
    assert read_json(run.job)["job"]["model"]["init"] == expected
    planned = runjob("plan", second).stdout.splitlines()
    assert f"model          weights of the run {newer.id}" in planned
    assert "parameters     8" in planned


def test_a_run_without_a_model_is_named_with_what_to_do_and_with_one_that_has_one(small, first, second):
    whole, without = first(), first(model=False)
    done = small("exact", second, *LOCAL)
    assert done.returncode == 2
    said = f"{without.id} is finished and has no model yet: runjob resume {without.id}"
    assert done.stderr.splitlines()[1].endswith(f": model.init.id: {said}, or name one that has: {whole.id}")


def test_a_model_of_another_kind_and_other_weights_than_were_named_are_refused(small, first, second):
    first(family="modernbert")
    done = small("exact", second, *LOCAL)
    assert done.returncode == 2
    assert "is of the family modernbert, and clm goes on with gpt2; write `kind: mlm`" in done.stderr
    run = first(family="canine")
    mlm = ("--set", "objective={kind: mlm}", "--set", f"model.init.revision={'0' * 64}")
    said = small("exact", second, *LOCAL, *mlm).stderr
    assert f"data.tokenizer.kind: {run.id} reads characters; write {{kind: characters}}" in said
    assert f"model.init.revision: the weights of {run.id} have the sha256 {weights_sha256(run.model)}" in said


def test_every_cell_of_a_matrix_starts_from_the_run_that_it_names(small, first, second, home):
    runs = [first(), first()]
    listed = ", ".join(run.id for run in runs)
    done = small("exact", second, "--launcher", "small", "--set", f"matrix.model.init.id=[{listed}]")
    assert done.returncode == 0, done.stderr
    started = [read_json(newest(home, f"second_{k}").job)["job"]["model"]["init"]["path"] for k in (1, 2)]
    assert started == [str(run.model) for run in runs]


def test_what_it_starts_from_travels_with_the_job_once(small, first, second, home):
    model = first().model
    assert small("exact", second, *LOCAL).returncode == 0
    values = read_json(newest(home, "second").job)["job"]
    inputs = [one for one in find_inputs(values) if "model.safetensors" in " ".join(one.names)]
    assert len({one.key for one in inputs}) == 1
    there = moved(values, inputs, "/far/inputs")["model"]["init"]["path"]
    assert there == f"/far/inputs/{inputs[0].key}/{model.name}"


def test_lineage_is_a_tree_from_the_first_run_that_is_known(small, first, second, home, runjob):
    root = first()
    assert small("exact", second, *LOCAL).returncode == 0
    child = newest(home, "second")
    digest = weights_sha256(root.model)[:12]
    shown = runjob("lineage", child.id).stdout.splitlines()
    assert shown == [
        f"{root.id}  clm, finished; gpt2 from scratch",
        f"└── {child.id}  clm, finished; from weights {digest}  <- this one",
    ]
    assert runjob("lineage", root.id).stdout.splitlines()[0].endswith("<- this one")
    (found,) = json.loads(runjob("lineage", root.id, "--json").stdout)["children"]
    assert found["origin"]["run"] == root.id
    save_file({"weight": np.zeros(8, "float32")}, root.model / "model.safetensors")
    assert "that run holds others by now" in runjob("lineage", child.id).stdout
    shutil.rmtree(root.path)
    assert runjob("lineage", child.id).stdout.splitlines()[0] == f"{root.id}  not here any more"


def test_lineage_names_the_run_whose_vectors_a_student_learns(first, home, runjob):
    teacher, student = first(), RunDir.create(home.runs, "student")
    sets = (f"objective.teacher={teacher.model}", f"data.tokenizer.path={teacher.model}")
    write_job_json(student.job, read_job(ROOT / "jobs/tiny/student_distill.yaml", sets))
    assert runjob("lineage", student.id).stdout.splitlines() == [
        f"{student.id}  sentence_embedding, lost, taught by {teacher.id}; modernbert from scratch  <- this one"
    ]
    assert json.loads(runjob("lineage", teacher.id, "--json").stdout)["teacher"] is None


def test_the_name_of_a_job_is_what_stands_before_the_digits_of_an_id():
    assert [name_in(one) for one in ("a@latest", "a-1a2b3c4d", "a-x", "a_b")] == ["a", "a", "a-x", "a_b"]
