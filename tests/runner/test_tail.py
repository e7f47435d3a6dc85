"""Following files that others write, cut and write again."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.launchers.torchrun_report import WithoutOrderlyEnds
from runjob.runner.tail import EventTail, LogTail


def line(step: int, attempt: int = 1, **values: object) -> str:
    return json.dumps({"event": "train", "step": step, "attempt": attempt, **values}) + "\n"


def steps(tail: EventTail) -> list[tuple[int, int]]:
    return [(record["step"], record["attempt"]) for record in tail.read()]


def test_each_whole_line_is_read_once_and_a_half_one_later(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_text(line(1) + line(2)[:5])
    assert steps(tail) == [(1, 1)]
    path.write_text(line(1) + line(2))
    assert steps(tail) == [(2, 1)]
    assert steps(tail) == []


def test_a_file_cut_by_a_resume_tells_only_what_is_new(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    path.write_text("".join(line(step) for step in range(1, 9)))
    assert len(steps(tail)) == 8
    path.write_text(line(1) + line(2) + line(3, attempt=2))
    assert steps(tail) == [(3, 2)]


def test_a_file_cut_and_grown_beyond_its_old_size_between_two_looks_loses_nothing(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    path.write_text("".join(line(step) for step in range(1, 4)))
    tail.read()
    path.write_text(line(1) + "".join(line(step, attempt=2) for step in range(2, 9)))
    assert steps(tail) == [(step, 2) for step in range(2, 9)]


def test_two_different_events_of_one_step_are_both_told(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_text(line(1, text="a") + line(1, text="b"))
    assert len(EventTail(path).read()) == 2


@given(st.lists(st.integers(1, 40), max_size=12))
def test_however_the_writer_is_cut_off_every_line_comes_exactly_once(tmp_path_factory, cuts: list[int]):
    path = tmp_path_factory.mktemp("tail") / "events.jsonl"
    text = "".join(line(step) for step in range(1, 10))
    tail = EventTail(path)
    found, written = [], 0
    for cut in cuts:
        written = min(written + cut, len(text))
        path.write_text(text[:written])
        found += steps(tail)
    path.write_text(text)
    found += steps(tail)
    assert found == [(step, 1) for step in range(1, 10)]


def test_a_log_is_read_by_whole_lines(tmp_path: Path):
    path = tmp_path / "log"
    tail = LogTail(path)
    path.write_bytes(b"one\ntwo \xff\nthr")
    assert tail.read() == ["one", "two �"]
    with path.open("a") as log:
        log.write("ee\n")
    assert tail.read() == ["three"]


REPORT = """\
torch says something
E1123 00:15:42.284000 8687 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: CODE) local_rank: 0
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
runjob.runner.worker FAILED
------------------------------------------------------------
  exitcode  : CODE (pid: 8692)
============================================================
and goes on
"""


@pytest.mark.parametrize(("code", "shown"), [("75", False), ("130", False), ("1", True), ("-9", True)])
@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_torchruns_traceback_of_a_rank_that_paused_is_not_shown_as_a_crash(code: str, shown: bool, at_once: int):
    lines = REPORT.replace("CODE", code).splitlines()
    kept = WithoutOrderlyEnds()
    seen = [line for begin in range(0, len(lines), at_once) for line in kept(lines[begin : begin + at_once])]
    assert seen == (lines if shown else [lines[0], lines[-1]])
