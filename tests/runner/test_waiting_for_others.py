"""What `resume` and its followers do while something else takes its time."""

import threading
import time
from pathlib import Path

import pytest

from runjob.runner.lock import locked
from runjob.runner.remote_copy import bring_newer
from runjob.runner.requeue import begin_next
from tests.cluster.remote_runs import make_run


def test_a_remote_copy_that_can_not_be_read_in_time_holds_nobody_up(tmp_path: Path):
    run = make_run(tmp_path, f"file://{tmp_path}/far")
    said = bring_newer(run, told=print, patience_s=0.01)
    assert said == [
        f"file://{tmp_path}/far/{run.id} was not read to its end in 0 s",
        "so it goes on from what is here, whatever is there",
    ]


@pytest.mark.parametrize("made", [True, False])
def test_of_two_that_follow_a_job_the_second_waits_for_the_attempt_of_the_first(tmp_path: Path, made: bool):
    run = make_run(tmp_path, "file:///nowhere")
    run.write_status("preempted", attempt=1, message="spot")
    holds = threading.Event()

    def first() -> None:
        with locked(run, patience_s=0.0):
            holds.set()
            time.sleep(0.7)
            if made:
                run.new_attempt()
            time.sleep(0.5)

    thread = threading.Thread(target=first)
    thread.start()
    assert holds.wait(10)
    assert begin_next(run, run.read_status(), told=print) == made
    thread.join()
