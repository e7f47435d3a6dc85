"""A run directory is seen whole or not at all, whatever ends the command that makes it."""

import signal
import time

from runjob.schemas.run import list_runs
from tests.conftest import SCRIPT, Home, Processes
from tests.end_to_end.conftest import write_job


def test_a_run_that_is_listed_has_its_code_its_first_attempt_and_a_state(home: Home, processes: Processes):
    job = write_job(home.path)
    command = processes.start(SCRIPT, job, "--detach")
    while not (found := list_runs(home.runs)) and command.poll() is None:
        time.sleep(0.0005)
    # stopped at the first moment at which anybody could see it
    command.send_signal(signal.SIGKILL)
    (run,) = found
    assert (run.code / "CODE.json").exists() and run.plan.exists() and run.job.exists()
    assert (run.read_status().state, run.read_status().attempt) == ("pending", 1)
    assert [attempt.number for attempt in run.list_attempts()] == [1]
