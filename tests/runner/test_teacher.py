"""A teacher of vectors before there is a run: which one is meant, whether it fits, and what it takes."""

import json
import shutil
from pathlib import Path

import pytest

from runjob.data.samples import locate_model
from runjob.runner.compile import compile_job
from runjob.runner.estimate import count_parameters
from runjob.runner.from_run import find_runs
from runjob.runner.local_files import missing_files
from runjob.runner.memory_estimate import estimate_memory
from runjob.runner.needs import named_on_hub, not_here
from runjob.schemas.job import texts_of
from runjob.schemas.machine import Machine
from runjob.schemas.paths import local_paths
from runjob.schemas.read import read_job
from tests.conftest import ROOT, Home

JOB = ROOT / "jobs" / "tiny" / "student_distill.yaml"
SAMPLE = "sample:modernbert_teacher"
SETS = (f"objective.teacher={SAMPLE}", f"data.tokenizer.path={SAMPLE}")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A copy of the sample, for breaking."""
    return Path(shutil.copytree(locate_model(SAMPLE), tmp_path / "teacher"))


def said(*sets: str) -> list[str]:
    return [str(problem) for problem in missing_files(read_job(JOB, [*SETS, *sets]))]


def test_the_teacher_of_a_run_is_settled_with_its_tokenizer_and_travels_with_the_job(
    home: Home, teacher: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RUNJOB_HOME", str(home.runs))
    model = home.runs / "student_embed_tiny-1a2b3c4d" / "model"
    shutil.copytree(teacher, model)
    settled, problems = find_runs(read_job(JOB))
    assert problems == ()
    assert settled.job.objective.teacher == settled.job.data.tokenizer.path == str(model)
    assert local_paths(settled.values)["objective.teacher"] == str(model)
    (model / "model.safetensors").unlink()
    _, problems = find_runs(read_job(JOB))
    assert [problem.path for problem in problems] == ["data.tokenizer.path", "objective.teacher"]
    assert all("has no model yet" in str(problem) for problem in problems)


def test_a_teacher_that_is_not_there_or_reads_other_tokens_is_refused_with_its_place(teacher: Path):
    assert said() == said(f"objective.teacher={teacher}") == []
    [line] = said(f"objective.teacher={teacher}/no")
    assert "objective.teacher: " in line and "no such directory; `runjob export` writes one" in line
    [line] = said("objective.teacher=sample:nobody")
    assert "this runjob ships no such model" in line
    file = teacher / "tokenizer.json"
    file.write_text(file.read_text().replace('"whale"', '"wales"'))
    [line] = said(f"objective.teacher={teacher}")
    assert "1 of its 2,048 ids are other tokens than in objective.teacher" in line
    assert "'whale' here, 'wales' there" in line


def test_a_teacher_whose_vectors_are_made_otherwise_is_refused(teacher: Path):
    (teacher / "1_Pooling").mkdir()
    settings = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (teacher / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    [line] = said(f"objective.teacher={teacher}")
    assert line.endswith("are made otherwise (1_Pooling/config.json); write cls")
    assert said(f"objective.teacher={teacher}", "objective.teacher_pooling=cls") == []
    (teacher / "2_Dense").mkdir()
    [line] = said(f"objective.teacher={teacher}", "objective.teacher_pooling=cls")
    assert "has a layer behind its vectors (2_Dense), which would be left out" in line


def test_a_teacher_on_the_hub_is_named_among_what_is_needed():
    job = read_job(JOB, [*SETS, "objective.teacher=somebody/encoder"]).job
    assert named_on_hub(job) == ["somebody/encoder"]
    [line] = not_here(job)
    assert line.startswith("objective.teacher: somebody/encoder is neither local nor in the Hub cache")


def test_what_a_teacher_takes_is_counted_and_the_layer_behind_the_vectors_too(tmp_path: Path):
    job = read_job(JOB, SETS).job
    narrow, same = count_parameters(job), count_parameters(read_job(JOB, [*SETS, "model.init.hidden_size=128"]).job)
    other = read_job(JOB, [*SETS, "objective={kind: sentence_embedding, group: 2}"]).job
    assert narrow == count_parameters(other) + 49 * 128
    assert same == count_parameters(
        read_job(JOB, [*SETS, "model.init.hidden_size=128", "objective={kind: sentence_embedding, group: 2}"]).job
    )
    plan = compile_job(job, Machine(cores=2, gpus=(), processor="some processor"))
    memory = estimate_memory(job, plan.batch, ranks_per_node=1)
    # its checkpoint holds the head of a masked model besides
    assert {part.name: part.bytes for part in memory.main}["teacher"] == 4 * 838_912
    without = estimate_memory(other, plan.batch, ranks_per_node=1)
    assert not any("teacher" in part.name for part in without.main)
    assert texts_of(job) == 2
    assert texts_of(read_job(JOB, [*SETS, "data.target=null"]).job) == 1
