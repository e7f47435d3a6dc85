"""runjob from Python: programs as a user writes them, each in a process of its own, over the small launcher."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def python(home, plugin, processes):
    """`python("small program", text)`: what the text printed, as lines; it says nothing on its own."""

    def run(small: str, text: str) -> list[str]:
        program = f"from pathlib import Path\nfrom runjob.runner import api\n{text}"
        env = {**home.env, **plugin, "SMALL": small}
        argv = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(argv, env=env, cwd=home.path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def test_a_job_is_submitted_followed_waited_for_and_read_from_python(python, job, home):
    said = python(
        "exact",
        """
import sys
job = api.submit("small.yaml", launcher="small", sets={"training.length": "30 steps", "seed": 7})
steps = [record["step"] for record in api.events(job, follow=True) if record["event"] == "train"]
end = api.wait(job, timeout_s=30)
print(end.id == job, end.state, end.step, steps == list(range(1, 21)))
print(api.status("latest") == end, api.directory(job) == Path.cwd().parent / "runs" / job)
print([record["step"] for record in api.events(job) if record["event"] == "eval"])
print(list(api.logs(job))[0])
print("finished" in api.status(job).state, len(api.why(job)) > 0)
print(api.cancel(job).removeprefix(job))
print("torch" in sys.modules, "rich" in sys.modules)
""",
    )
    assert said[:3] == ["True finished 20 True", "True True", "[10, 20]"]
    assert said[3].startswith("step 1/20  loss ")
    assert said[4:6] == [
        "True True",
        " is finished; there is nothing to cancel",
    ]
    assert said[6:] == ["False False"]
    (run,) = home.runs.iterdir()
    resolved = json.loads((run / "job.json").read_text())
    assert (resolved["job"]["training"]["length"], resolved["job"]["seed"]) == ("30 steps", 7)
    assert resolved["origins"]["seed"] == "--set"


def test_who_waits_may_lose_patience_and_the_job_goes_on(python, job):
    said = python(
        "long",
        """
from runjob.schemas.errors import RunjobError
job = api.submit("small.yaml", launcher="small")
try:
    api.wait(job, timeout_s=0)
except TimeoutError as error:
    print(isinstance(error, RunjobError), str(error).removeprefix(job))
print(api.cancel(job).partition("; ")[2], api.wait(job).state)
""",
    )
    assert said[1] == "asked to save and stop cancelled"
    assert said[0].startswith("True  is ")
    assert said[0].endswith(" after 0 s; it goes on, so wait again")


def test_a_follower_is_given_each_record_once_though_a_resume_takes_some_back(python, job):
    """Killed at step 12 or later, it goes on from the checkpoint of step 10: the file gets shorter under the reader."""
    said = python(
        "exact",
        """
import os, signal
from runjob.launchers.base import read_handle
from runjob.schemas.run import RunDir
from runjob.schemas.errors import StateError
job = api.submit("small.yaml", launcher="small")
seen = []
for record in api.events(job, follow=True):
    seen.append((record["event"], record["step"], record["attempt"]))
    if record["step"] == 7 and record["attempt"] == 1:
        os.killpg(read_handle(RunDir(api.directory(job))).facts["pid"], signal.SIGKILL)
killed = api.wait(job)
print(killed.state, len(seen) == len(set(seen)), max(step for _, step, _ in seen) < 20)
promise = api.resume(job, launcher="small")
print(promise[0])
seen += [(one["event"], one["step"], one["attempt"]) for one in api.events(job, follow=True) if one["attempt"] == 2]
print([step for event, step, attempt in seen if event == "train" and attempt == 2][-1], api.wait(job).state)
try:
    api.resume(job, launcher="small")
except StateError as error:
    print(error)
""",
    )
    assert said[0] == "lost True True"
    assert said[1].startswith("goes on from the checkpoint of step ")
    assert said[2] == "20 finished"
    assert "is finished; to train longer say so" in said[3]


def test_what_is_wrong_is_a_value_or_an_error_that_says_what_to_do(python, job):
    said = python(
        "exact",
        """
from runjob.schemas.errors import JobError, NotFoundError
print(api.validate("small.yaml"))
(problem,) = api.validate("small.yaml", sets={"training.length": "twenty"})
print(problem.path, problem.file, sep=" | ")
print(api.plan("small.yaml").plan.steps, api.plan("small.yaml", sets={"training.global_batch": 16}).plan.batch)
for act in (lambda: api.events("nobody"), lambda: api.logs("nobody"), lambda: api.wait("nobody")):
    try:
        act()
    except NotFoundError as error:
        print(str(error).split(" under ")[0])
try:
    api.submit("small.yaml", sets={"data.path": Path("nowhere.txt")})
except JobError as error:
    print(error)
print(list(Path("../runs").iterdir()))
""",
    )
    assert said[0] == "()"
    assert said[1] == 'training.length | --set training.length="twenty"'
    assert said[2] == "20 Batch(global_batch=16, ranks=1, micro_batch=4, accumulation=4, micro_tokens=None)"
    assert said[3:6] == ["nobody: no such job"] * 3
    assert "nowhere.txt" in said[6]
    assert said[7:] == ["[]"]


def test_a_matrix_is_submitted_waited_for_stopped_and_taken_up_from_python(python, job, home):
    (home.path / "sweep.yaml").write_text("extends: small.yaml\nmatrix: {training.learning_rate: [1e-3, 5e-4]}\n")
    said = python(
        "exact",
        """
from runjob.schemas.errors import JobError
group = api.submit("sweep.yaml", launcher="small", at_once=2)
try:
    api.wait_cells(group, timeout_s=0)
except TimeoutError as error:
    print(str(error).removeprefix(group))
print([(one.id.partition("-")[0], one.state, one.step) for one in api.wait_cells(group, timeout_s=40)])
print(api.cells(group) == api.cells("small@latest"), api.cancel(group) == "")
print(api.resume(group))
print([one.state for one in api.wait_cells(group)])
print(api.plan("sweep.yaml", cell=2).resolved.job.training.learning_rate)
for act in (
    lambda: api.plan("sweep.yaml"),
    lambda: api.plan("small.yaml", cell=1),
    lambda: api.submit("small.yaml", at_once=2),
    lambda: api.resume(group, sets={"seed": 2}),
    lambda: api.resume(api.cells(group)[0].id, at_once=2),
):
    try:
        act()
    except JobError as error:
        print(error)
""",
    )
    assert said[0].endswith(" of 2 have ended after 0 s; wait again")
    assert said[1:4] == [
        "[('small_1', 'finished', 20), ('small_2', 'finished', 20)]",
        "True True",
        "('no cell of it is left to begin',)",
    ]
    assert said[4:6] == ["['finished', 'finished']", "0.0005"]
    assert said[6] == "sweep.yaml: its matrix holds 2 jobs, 1 to 2; cell=None names none of them"
    assert said[7] == "small.yaml: it has no matrix; cell=1 names none of them"
    assert said[8].endswith("at_once=2: it is one job, and no matrix of several")
    assert "sets, launcher and start_from can be said of one of its jobs" in said[9]
    assert said[10].endswith("at_once=2: it is one job, and no matrix of several")


def test_a_group_is_stopped_and_goes_on_from_python(python, job, home):
    (home.path / "sweep.yaml").write_text("extends: small.yaml\nmatrix: {training.learning_rate: [1e-3, 5e-4]}\n")
    said = python(
        "long",
        """
group = api.submit("sweep.yaml", launcher="small")
for line in api.cancel(group).splitlines()[:2]:
    print(line.split(" ", 1)[1])
print([one.state for one in api.wait_cells(group, timeout_s=40)])
import json
for one in api.cells(group):  # `small` leans on `local`, whose name stands there; that would train for real
    handle = api.directory(one.id) / "handle.json"
    written = {**json.loads(handle.read_text()), "launcher": "small"}
    del written["sha256"]  # of what stood there
    handle.write_text(json.dumps(written))
print([line.split(" ", 1)[1] for line in api.resume(group)])
print(api.cancel(group).splitlines()[0].removeprefix(group))
print([(one.state, one.attempt) for one in api.wait_cells(group, timeout_s=40)][1])
""",
    )
    assert said[0] == "no more of its jobs are begun"
    assert said[1] == "waited for its turn and is now cancelled"
    assert said[2] == "['cancelled', 'cancelled']"
    assert said[3] == "['goes on, it was cancelled', 'goes on, it was cancelled']"
    # the queue was about to take it up after the first
    assert said[4:] == [": no more of its jobs are begun", "('cancelled', 1)"]
