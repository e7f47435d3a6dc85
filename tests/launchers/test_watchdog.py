"""A run that makes no step for longer than it said a step may take has hung; its ranks write down where they are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.watchdog import LONGEST_LOOK_S, Watchdog, ask_stacks, ranks, stopped_ranks
from runjob.schemas.run import Attempt, RunDir, write_json
from tests.conftest import wait_until

# A rank that waits for a lock that nobody gives back
RANK = """
import faulthandler, threading
from runjob.schemas.lifeline import STACKS_SIGNAL
faulthandler.register(STACKS_SIGNAL)
def stuck_here():
    lock = threading.Lock()
    lock.acquire()
    print("begun", flush=True)
    lock.acquire()
stuck_here()
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return RunDir.create(tmp_path, "some").new_attempt()


@pytest.fixture
def run(attempt: Attempt) -> RunDir:
    return RunDir(attempt.path.parent.parent)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[Path]]:
    """The logs of two ranks, and of one that a rank has started, which is none."""
    found, started = [], []
    for number, module in (
        (0, "runjob.runner.worker"),
        (1, "runjob.runner.worker"),
        (0, "runjob.runner.worker.reader"),
    ):
        found.append(tmp_path / f"{len(found)}.log")
        with found[-1].open("wb") as file:
            argv = [sys.executable, "-c", RANK, "-m", module]
            started.append(subprocess.Popen(argv, env={**os.environ, "RANK": str(number)}, stdout=file, stderr=file))
    wait_until(lambda: all("begun" in log.read_text() for log in found), what="the ranks to begin")
    yield found
    for process in started:
        process.kill()
        process.wait()


def say(run: RunDir, step: int, hung_after_s: float | None, *, attempt: int = 1) -> None:
    write_json(run.progress, {"step": step, "attempt": attempt, "hung_after_s": hung_after_s})


def test_a_run_has_hung_when_nothing_came_for_as_long_as_it_said(run: RunDir, attempt: Attempt) -> None:
    watchdog = Watchdog(run, attempt)
    assert not watchdog.hung()
    for step in (1, 2):
        say(run, step, 0.2)
        assert not watchdog.hung()
        time.sleep(0.15)
        assert not watchdog.hung()
    time.sleep(0.1)
    assert watchdog.hung()
    watchdog.report(watchdog.describe())
    said = attempt.read_exit()
    assert said is not None
    assert (said.outcome, said.code, said.step, said.reason) == ("failed", 1, 2, "HungError")
    assert said.error.startswith("no step for 0 s after step 2: no rank is stopped from outside; ")


@pytest.mark.parametrize("what", ["an evaluation", "an earlier attempt", "half a file", "a stage that prepares"])
def test_what_may_take_as_long_as_it_takes_has_not_hung(run: RunDir, attempt: Attempt, what: str) -> None:
    watchdog = Watchdog(run, attempt)
    say(run, 2, 0.05)
    match what:
        case "an evaluation":
            say(run, 2, None)
        case "an earlier attempt":
            say(run, 2, 0.05, attempt=7)
        case "half a file":
            run.progress.write_text('{"step": 2, "attempt": 1, "hung_aft')
        case _:
            write_json(run.progress, {"step": 2, "attempt": 1})
    watchdog.hung()
    time.sleep(0.1)
    assert not watchdog.hung()


def test_time_in_which_the_supervisor_itself_was_stopped_does_not_count(run: RunDir, attempt: Attempt) -> None:
    """As where Slurm suspends a job, or a machine sleeps: here nobody asks for a while."""
    watchdog = Watchdog(run, attempt)
    say(run, 2, LONGEST_LOOK_S + 0.2)
    assert not watchdog.hung()
    time.sleep(LONGEST_LOOK_S + 0.4)
    assert not watchdog.hung()
    time.sleep(0.3)
    assert watchdog.hung()


def test_a_rank_that_wrote_its_own_end_keeps_its_word(run: RunDir, attempt: Attempt) -> None:
    attempt.exit.write_text('{"outcome": "finished", "code": 0, "step": 9, "reason": "all steps done", "error": ""}')
    Watchdog(run, attempt).report("no step")
    said = attempt.read_exit()
    assert said is not None and said.outcome == "finished"


def test_every_rank_says_where_it_is_though_one_is_stopped_and_python_is_held_up(logs: list[Path]) -> None:
    assert list(ranks()) == [0, 1]
    os.kill(ranks()[1].pid, signal.SIGSTOP)
    wait_until(lambda: stopped_ranks() == [1], what="rank 1 to be stopped")
    ask_stacks()
    assert [log.read_text().count("in stuck_here") for log in logs] == [1, 1, 0]
    assert stopped_ranks() == []
