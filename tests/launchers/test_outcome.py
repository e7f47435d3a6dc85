"""How an end is told: the words of rank 0, the rank that was killed, the signal behind a code."""

from pathlib import Path

import pytest

from runjob.launchers.outcome import describe_end, killed_rank, outcome_of
from runjob.schemas.run import Attempt, Exit

# The shape of torchrun's last words.
REPORT = """\
Failures:
[1]:
  time      : 2026-11-21_12:12:10
  rank      : 1 (local_rank: 1)
  exitcode  : {first} (pid: 30864)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_12:12:10
  rank      : 0 (local_rank: 0)
  exitcode  : {root} (pid: 30865)
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    (tmp_path / "1").mkdir()
    return Attempt(tmp_path / "1")


@pytest.mark.parametrize(
    ("first", "root", "said"),
    [
        ("-15", "-9", "rank 0 was ended by signal 9 (SIGKILL)"),
        ("-15", "-11", "rank 0 was ended by signal 11 (SIGSEGV)"),
        ("-15", "1 ", ""),
        ("1 ", "1 ", ""),
    ],
)
def test_the_killed_rank_is_the_root_cause_and_never_one_that_torchrun_ended(
    attempt: Attempt, first: str, root: str, said: str
):
    attempt.stage_log("train").write_text(REPORT.format(first=first, root=root))
    assert killed_rank(attempt, "train") == said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "ended with code 1"),
        (-9, "was ended by signal 9 (SIGKILL)"),
        (137, "ended with code 137 (a child was ended by signal 9, SIGKILL)"),
        (-40, "was ended by signal 40 (a real-time signal)"),
        (255, "ended with code 255"),
    ],
)
def test_codes_and_signals_have_names(code: int, said: str):
    assert describe_end(code) == said


def test_what_rank_0_said_stands_whatever_the_code_of_torchrun(attempt: Attempt):
    attempt.write_exit(Exit(outcome="preempted", code=75, step=7, reason="stop_after"))
    assert outcome_of(attempt, "train", 1) == ("preempted", "stop_after")


def test_a_long_error_is_one_bounded_line(attempt: Attempt):
    attempt.write_exit(Exit(outcome="failed", code=1, step=7, reason="DataError", error="x" * 1000 + "\nmore"))
    assert outcome_of(attempt, "train", 1) == ("failed", "x" * 300)


@pytest.mark.parametrize(("asked", "state"), [(None, "failed"), ("preempt", "failed"), ("cancel", "cancelled")])
def test_an_end_without_a_word_is_a_failure_unless_the_user_wanted_it(attempt: Attempt, asked, state: str):
    if asked:
        attempt.request_stop(asked)
    found, message = outcome_of(attempt, "train", 0)
    assert found == state
    assert "left no exit.json" in message
