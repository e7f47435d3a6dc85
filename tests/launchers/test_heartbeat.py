"""What a supervisor writes in status.json, and what it may not."""

from runjob.launchers.heartbeat import Heartbeat
from tests.launchers.helpers import make_plan, make_run


def test_once_a_later_attempt_has_begun_an_earlier_one_says_nothing_more(tmp_path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    beat = Heartbeat(run, attempt, silent=False)
    beat.become("running", "stage train")
    later = run.new_attempt()
    run.write_status("pending", attempt=later.number)
    beat.become("stopping", "saving")
    assert (run.read_status().state, run.read_status().attempt) == ("pending", 2)


def test_a_node_that_helps_leaves_the_word_to_the_first_one(tmp_path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    Heartbeat(run, attempt, silent=True).become("running", "stage train")
    assert run.read_status().state == "pending"
