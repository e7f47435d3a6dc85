"""What the preparation says of itself: the same line in its log, in progress.json and beside the bar."""

from pathlib import Path

from runjob.data.progress import Progress
from runjob.runner.follow import preparation
from runjob.runner.runs import is_of, read_progress
from runjob.runner.worker.prepare import Teller
from runjob.schemas.run import RunDir


def test_a_line_tells_share_rate_and_time_left_wherever_it_is_read(tmp_path: Path, capsys):
    run = RunDir(tmp_path)
    assert preparation(read_progress(run)) == ""
    half = Progress(
        stage="tokenising",
        done_bytes=5_000_000,
        total_bytes=10_000_000,
        documents=2_000,
        tokens=1_000_000,
        seconds=4.0,
        note="",
        share=0.5,
        share_before=0.0,
    )
    Teller(run)(half)
    expected = "tokenising  50 %  2,000 documents  1,000,000 tokens  250,000 tokens/s  4 s left"
    assert capsys.readouterr().out == f"{expected}\n"
    assert preparation(read_progress(run)) == expected
    assert not is_of(1, read_progress(run)), "what is prepared is no step of training's"
