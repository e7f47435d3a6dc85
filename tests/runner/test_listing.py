"""`ps` with more jobs than a terminal holds: which are shown, and how little is read of the others."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from runjob.launchers.base import Handle
from runjob.launchers.place import own_place
from runjob.runner.listing import SHOWN
from runjob.schemas.ended import PlaceWord
from runjob.schemas.run import RunDir, State, read_json, write_json

MANY = SHOWN + 15
# Prints, of every run, which files were opened in the whole of a command
OPENED = """\
import json, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from runjob.runner.cli import main
main(sys.argv[1:])
print(json.dumps(opened), file=sys.stderr)
"""


def make_run(runs: Path, number: int, state: State) -> str:
    """Number 0 is the oldest. One that runs is at it in this very process."""
    run = RunDir.create(runs, "small")
    attempt = run.new_attempt()
    run.job_yaml.write_text("schema: 1\n")
    os.utime(run.job_yaml, (1e9 + number, 1e9 + number))
    Handle(launcher="local", attempt=attempt.number, facts=own_place()).write(run)
    write_json(run.progress, {"step": number, "steps": MANY, "loss": 3.25, "attempt": 1})
    run.write_status(state, attempt=attempt.number)
    return run.id


@pytest.fixture
def ids(home) -> list[str]:
    """Oldest first. The very first runs, the next was preempted, all others are finished."""
    states: list[State] = ["running", "preempted", *["finished"] * (MANY - 2)]
    return [make_run(home.runs, number, state) for number, state in enumerate(states)]


def test_ps_shows_what_runs_and_the_newest_of_what_has_ended_and_counts_the_rest(runjob, ids: list[str]):
    _, *rows, more = runjob("ps").stdout.splitlines()
    assert [row.split()[0] for row in rows] == [*reversed(ids[-SHOWN:]), ids[0]]
    assert [row.split()[1] for row in rows] == [*["finished"] * SHOWN, "running"]
    assert more == f"{MANY - SHOWN - 1} more that have ended: runjob ps --all"


def test_all_jobs_are_listed_where_all_are_asked_for(runjob, ids: list[str]):
    _, *rows = runjob("ps", "--all").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ids[::-1]
    assert [row["id"] for row in json.loads(runjob("ps", "--json").stdout)] == ids[::-1]


def test_a_job_whose_status_is_damaged_is_shown_however_old(runjob, home, ids: list[str]):
    (home.runs / ids[2] / "status.json").write_text("{")
    shown = {row.split()[0]: row.split()[1] for row in runjob("ps", "--all").stdout.splitlines()[1:]}
    assert shown[ids[2]] == "lost"
    assert len(runjob("ps").stdout.splitlines()) == 1 + 1 + SHOWN + 1


def test_the_newest_job_and_one_by_its_prefix_are_found_among_many(runjob, ids: list[str]):
    for wanted in ("latest", "small@latest", ids[-1], ids[-1][:-1]):
        assert json.loads(runjob("status", wanted, "--json").stdout)["id"] == ids[-1]


@pytest.mark.parametrize(("words", "unseen"), [(["ps"], 1), (["status", "latest"], 0), (["logs", "latest"], 0)])
def test_of_a_job_that_is_not_shown_hardly_anything_is_read(home, ids: list[str], words, unseen):
    done = subprocess.run(
        [sys.executable, "-c", OPENED, *words], env=home.env, cwd=home.path, capture_output=True, text=True, check=True
    )
    paths = [Path(path) for path in json.loads(done.stderr) if path.startswith(f"{home.runs}/")]
    opened = Counter(path.relative_to(home.runs).parts[0] for path in paths)
    shown = [ids[0], *ids[-SHOWN:]] if words == ["ps"] else [ids[-1]]
    assert {opened[run] for run in ids if run not in shown} == {unseen}
    assert {1 < opened[run] < 10 for run in shown} == {True}


def test_ps_shows_the_class_of_each_failure_and_finds_it_out_once(runjob, home, ids: list[str]):
    """It is told anew where something came to the attempt since, such as what its place said of it."""
    run = RunDir(home.runs / ids[-1])
    run.write_status("failed", attempt=1, message="it ended")
    head, row, *others = (line.split() for line in runjob("ps").stdout.splitlines())
    assert (head[2], row[2], {other[2] for other in others[:-1]}) == ("CLASS", "unknown", {"-"})
    write_json(run.verdict, {**read_json(run.verdict), "class": "as written down"})
    failed = lambda: json.loads(runjob("status", run.id, "--json").stdout)["failure"]  # noqa: E731
    assert failed() == "as written down"
    PlaceWord(launcher="slurm", state="OUT_OF_MEMORY").write(run.attempt(1).place_word)
    assert failed() == "memory"
    run.write_status("finished", attempt=1)
    assert failed() is None
    assert "CLASS" not in runjob("ps").stdout


def test_a_class_that_can_not_be_written_down_is_shown_all_the_same(runjob, home, ids: list[str]):
    run = RunDir(home.runs / ids[-1])
    run.write_status("failed", attempt=1)
    run.verdict.mkdir()
    assert json.loads(runjob("status", run.id, "--json").stdout)["failure"] == "unknown"
