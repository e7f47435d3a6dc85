"""What `resume` and its followers do while something else takes its time."""

from pathlib import Path

from runjob.runner.remote_copy import bring_newer
from tests.cluster.remote_runs import make_run


def test_a_remote_copy_that_can_not_be_read_in_time_holds_nobody_up(tmp_path: Path):
    run = make_run(tmp_path, f"file://{tmp_path}/far")
    said = bring_newer(run, told=print, patience_s=0.01)
    assert said == [
        f"file://{tmp_path}/far/{run.id} was not read to its end in 0 s",
        "so it goes on from what is here, whatever is there",
    ]
