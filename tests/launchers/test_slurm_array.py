"""Runs to arrays: who shares one, and what bash makes of a task's number."""

import os
import subprocess
from pathlib import Path

import pytest

from runjob.launchers.slurm import task_of
from runjob.launchers.slurm_array import Task, arrays_of
from runjob.schemas.read import read_job, write_job_json
from tests.launchers.helpers import make_plan, make_run
from tests.small_job import small_job

GROUP = "small-0a1b2c3d"
SLURM = "slurm: {setup: [greeting=hello]}"


@pytest.fixture
def task(tmp_path: Path):
    home = tmp_path / "it's $(touch x); here"
    home.mkdir()

    def make(*sets: str) -> Task:
        plan = make_plan("finish")
        run, attempt = make_run(home, plan)
        file = tmp_path / "small.yaml"
        file.write_text(small_job(hardware=SLURM))
        write_job_json(run.job, read_job(file, sets))
        return task_of(run, plan, attempt)

    return make


def test_runs_that_ask_for_the_same_are_one_array_in_their_order(task):
    tasks = [task("seed=1"), task("hardware.slurm.time=2:00:00"), task("seed=2"), task("hardware.slurm.setup=[ls]")]
    arrays = arrays_of(GROUP, tasks)
    assert [array.tasks for array in arrays] == [(tasks[0], tasks[2]), (tasks[1],), (tasks[3],)]
    assert len({array.comment for array in arrays}) == 3
    told = arrays[0].told()
    assert (told["job_name"], told["time"]) == (GROUP, None)
    assert told["additional_parameters"]["chdir"] == str(tasks[0].run.path.parent)


def test_each_task_has_the_code_of_its_own_run_whatever_its_folder_is_called(task, tmp_path: Path):
    (array,) = arrays_of(GROUP, [task(), task()])
    for number, one in enumerate(array.tasks):
        script = "\n".join([*array.told()["setup"], 'printf %s "$greeting $PYTHONPATH"'])
        answer = subprocess.run(
            ["bash", "-eu", "-c", script],
            env={"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": str(number)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout == f"hello {one.run.path}/code"
    assert not (tmp_path / "x").exists()
