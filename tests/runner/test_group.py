"""The cells of a matrix through the real command line: begun at their turn, shown, stopped and taken up together, and a
queue that may be killed at any moment."""

import json
import os
import signal
from pathlib import Path

import pytest

from runjob.schemas.group import GroupDir
from runjob.schemas.run import RunDir, read_json, write_json
from tests.small_job import small_job

LOCAL = ("--launcher", "small")


@pytest.fixture
def job(home) -> Path:
    """Three cells; which program a cell runs is the launcher's SMALL for all of them."""
    (home.path / "text.txt").write_text("een twee drie\n")
    base, path = home.path / "base.yaml", home.path / "sweep.yaml"
    base.write_text(small_job())
    path.write_text("extends: base.yaml\nmatrix: {training.learning_rate: [1e-3, 5e-4, 1e-4]}\n")
    return path


@pytest.fixture
def group(home):
    def find() -> GroupDir:
        (path,) = (home.runs / "groups").iterdir()
        return GroupDir(path)

    return find


def states(group: GroupDir) -> list[str]:
    return [run.read_status().state for run in group.runs()]


def test_every_cell_is_a_run_of_its_own_and_the_command_ends_when_all_have(small, job, group, runjob):
    done = small("exact", job, *LOCAL)
    assert done.returncode == 0, done.stderr
    found = group()
    assert done.stdout.splitlines()[0] == found.id
    runs = found.runs()
    assert [run.id for run in runs] == [f"small_{k}-{found.hex}" for k in (1, 2, 3)]
    assert states(found) == ["finished"] * 3
    assert f"{runs[2].id} is finished: all steps done" in done.stdout.splitlines()
    for run, rate in zip(runs, (1e-3, 5e-4, 1e-4), strict=True):
        written = read_json(run.job)
        assert written["job"]["training"]["learning_rate"] == rate
        assert written["origins"]["training.learning_rate"].startswith(f"matrix: {job}:2:")
        assert read_json(run.cell)["varied"] == {"training.learning_rate": rate}
        assert (run.bases / "1-base.yaml").read_text() == small_job()
        assert run.job_yaml.read_text() == job.read_text()
    # one at a time: each began when the one before had ended
    ends = [run.read_status().updated for run in runs]
    starts = [read_json(run.handle)["start_time"] for run in runs]
    assert ends == sorted(ends)
    assert starts == sorted(starts)
    for wanted in (found.id, "small@latest"):
        lines = runjob("status", wanted).stdout.splitlines()
        assert lines[0].split() == ["ID", "LEARNING_RATE", "STATE", "STEP", "LOSS", "LAST", "SIGN"]
        assert lines[1].split()[:4] == [runs[0].id, "0.001", "finished", "20/20"]
    (one, *_) = json.loads(runjob("status", "sma", "--json").stdout)["jobs"]
    assert (one["number"], one["varied"], one["state"]) == (1, {"training.learning_rate": 0.001}, "finished")
    assert [row["id"] for row in json.loads(runjob("ps", found.id, "--json").stdout)] == [run.id for run in runs]
    assert "is a group of jobs, and one is wanted here" in runjob("logs", found.id).stderr


def test_a_failing_cell_stops_no_other_and_the_worst_code_is_the_commands(small, job, group, runjob):
    done = small("fail", job, *LOCAL, "--set", "matrix.training.learning_rate=[1, 0.5]")
    assert done.returncode == 1
    found = group()
    assert states(found) == ["failed"] * 2
    compared = runjob("compare", found.id).stdout
    assert all(run.id in compared for run in found.runs())


def test_resume_of_a_group_takes_up_every_cell_that_is_not_done_and_says_what_each_was(small, job, group, runjob):
    """The first was finished, the second failed, the third was cancelled before its turn."""
    assert small("exact", job, *LOCAL, "--set", "matrix.training.learning_rate=[1, 0.5, 0.1]").returncode == 0
    found = group()
    first, second, third = found.runs()
    began_by_small(second, third)
    write_json(second.path / "attempts/1/exit.json", numerical_failure(second))
    second.write_status("failed", attempt=1, message="NaN")
    third.write_status("cancelled", attempt=1, message="by hand")
    for wanted in ("ps", "status"):
        head, *rows = (line.split() for line in runjob(wanted, found.id).stdout.splitlines())
        place = head.index("CLASS") if wanted == "status" else 2
        assert [row[place] for row in rows] == ["-", "numerics", "-"]
    done = small("exact", "resume", found.id)
    assert done.stdout.splitlines()[:3] == [
        found.id,
        f"{second.id} goes on, it was failed (numerics)",
        f"{third.id} goes on, it was cancelled",
    ]
    assert (done.returncode, states(found)) == (0, ["finished"] * 3), done.stderr
    assert [len(run.list_attempts()) for run in (first, second, third)] == [1, 2, 2]
    assert "no cell of it is left to begin" in small("exact", "resume", found.id).stdout


def test_a_cell_that_can_not_be_taken_up_says_why_and_stops_no_other(small, job, group, home):
    small("fail", job, *LOCAL, "--set", "matrix.training.learning_rate=[1, 0.5]")
    found = group()
    first = found.runs()[0]
    began_by_small(*found.runs())
    (first.code / "CODE.json").write_text("{")
    done = small("exact", "resume", found.id)
    assert states(found) == ["failed", "finished"]
    assert done.returncode == 1
    assert f"{first.id} can't be begun: " in done.stderr


def began_by_small(*runs: RunDir) -> None:
    """A handle names `local`, whose code this launcher leans on; `resume` would ask that for the real training."""
    for run in runs:
        handle = {**read_json(run.handle), "launcher": "small"}
        del handle["sha256"]  # of what stood there
        write_json(run.handle, handle)


def numerical_failure(run: RunDir) -> dict[str, object]:
    """As a worker leaves it whose loss was NaN."""
    said = {"outcome": "failed", "code": 1, "step": 2, "reason": "NumericsError", "error": "the loss is NaN at step 2"}
    return {**said, "causes": [{"type": "runjob.schemas.errors.NumericsError", "bases": []}]}


def test_a_killed_queue_leaves_the_running_cell_alone_and_resume_takes_up_the_rest(
    small, job, group, processes, wait_until, runjob
):
    assert small("a-while", job, *LOCAL, "--detach").returncode == 0
    found = group()
    first, second, third = found.runs()
    wait_until(lambda: first.progress.exists(), what="the first cell's first step")
    waiting = json.loads(runjob("status", second.id, "--json").stdout)
    assert (waiting["state"], waiting["message"]) == ("pending", f"waits for its turn in {found.id}")
    assert "begins each job at its turn" in small("exact", "resume", found.id).stderr
    os.kill(read_json(found.queue)["pid"], signal.SIGKILL)
    assert "--set and --from can be" in small("", "resume", found.id, "--set", "seed=1", "--from", "3").stderr
    lost = lambda: json.loads(runjob("status", second.id, "--json").stdout)  # noqa: E731
    wait_until(lambda: lost()["state"] == "lost", what="the waiting cell to be lost")
    assert f"`runjob resume {found.id}` goes on with it" in lost()["message"]
    assert first.read_status().state == "running"
    assert runjob("cancel", third.id).stdout.startswith(f"{third.id} waited for its turn and is now cancelled")
    place = read_json(found.queue)
    write_json(found.queue, {**place, "host": "elsewhere", "boot_id": "another"})
    assert "its queue was begun on elsewhere" in small("exact", "resume", found.id).stderr
    again = small("exact", "resume", found.id, "--accept", "--at-once", "3")
    assert (again.returncode, again.stderr) == (0, ""), again.stdout + found.log.read_text()
    assert states(found) == ["finished"] * 3
    # what runs is left alone, what was never begun begins with its first attempt, what was cancelled is resumed
    assert [len(run.list_attempts()) for run in (first, second, third)] == [1, 1, 2]


def test_cancel_ends_all_of_it_and_begins_none(small, job, group, wait_until, runjob, processes):
    small("long", job, *LOCAL, "--detach", "--at-once", "2")
    found = group()
    wait_until(lambda: all(run.progress.exists() for run in found.runs()[:2]), what="two cells at once")
    assert states(found) == ["running", "running", "pending"]
    done = runjob("cancel", found.id)
    assert done.returncode == 0, done.stderr
    assert states(found) == ["cancelled"] * 3
    assert [run.progress.exists() for run in found.runs()] == [True, True, False]
    wait_until(lambda: processes.alive() == [], what="the queue to end")


def test_a_matrix_whose_files_are_not_here_leaves_nothing(small, job, home):
    (home.path / "text.txt").unlink()
    done = small("exact", job, *LOCAL)
    assert done.returncode == 2
    assert "base.yaml:5:9: data.path" in done.stderr
    assert list(home.runs.iterdir()) == []


def test_plan_shows_the_cells_and_each_ones_plan(runjob, job):
    done = runjob("plan", job)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["CELL", "LEARNING_RATE", "PARAMETERS", "STEPS", "TOKENS"],
        ["1", "0.001", "42,880", "20", "5,120"],
        ["2", "0.0005", "42,880", "20", "5,120"],
        ["3", "0.0001", "42,880", "20", "5,120"],
    ]
    assert runjob("plan", job, "--cell", "2").stdout.startswith("job            small_2\n")
    assert "--cell 4: " in runjob("plan", job, "--cell", "4").stderr
    assert [cell["cell"] for cell in json.loads(runjob("plan", job, "--json").stdout)["cells"]] == [1, 2, 3]


TOGETHER = """

class Together(Small):
    def submit_together(self, name, starts):
        with open(os.environ["TOGETHER"], "a") as said:
            said.write(f"{name} {len(starts)}\\n")
        for one in starts:
            self.submit(one.run, one.plan, one.attempt)
"""


@pytest.fixture
def together(home, plugin) -> Path:
    """`--launcher together`: a place that takes many at once; the file says what it was handed."""
    site = Path(plugin["PYTHONPATH"])
    (site / "small_launcher.py").write_text((site / "small_launcher.py").read_text() + TOGETHER)
    points = site / "small_launcher-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "together = small_launcher:Together\n")
    plugin["TOGETHER"] = str(home.path / "together.txt")
    return home.path / "together.txt"


def test_a_place_that_takes_them_together_is_asked_once_and_needs_no_queue(small, job, group, together: Path):
    done = small("exact", job, "--launcher", "together", "--set", "matrix.training.learning_rate=[1, 0.5]")
    assert done.returncode == 0, done.stderr
    found = group()
    assert together.read_text() == f"{found.id} 2\n"
    assert states(found) == ["finished"] * 2
    assert not found.queue.exists()
    refused = small("exact", job, "--launcher", "together", "--at-once", "2")
    assert (refused.returncode, "hardware.slurm.array_parallelism" in refused.stderr) == (2, True)
    one = small("exact", job, *LOCAL, "--set", "matrix=null", "--at-once", "2")
    assert (one.returncode, one.stderr) == (2, "runjob: --at-once 2: it is one job, and no matrix of several\n")
