"""A job that goes on by itself: where a place was taken away from it and its launcher says so, whoever follows it
begins the next attempt, as `resume` would. Nobody follows, nobody begins: then `runjob resume ID` does it."""

import time
from collections.abc import Callable

from runjob.launchers.base import Requeuer
from runjob.runner.lock import locked
from runjob.runner.resume import Wish, resume
from runjob.runner.runs import launcher_of
from runjob.schemas.errors import StateError
from runjob.schemas.run import RunDir, Status

# Before there is an attempt the other brings home what the place still has, a checkpoint of gigabytes maybe.
PATIENCE_S = 1800.0
POLL_S = 0.2


def goes_on(run: RunDir, status: Status) -> str:
    """Why the next attempt is to begin now; empty where the job has ended."""
    launcher = launcher_of(run)
    return launcher.goes_on(run, status) if isinstance(launcher, Requeuer) else ""


def begin_next(run: RunDir, status: Status, *, told: Callable[[str], None]) -> bool:
    """Is there a next attempt now? Two who follow the same job both want one: the second finds the first's."""
    try:
        for line in resume(run, Wish(), told=told):
            told(line)
    except StateError as error:
        told(str(error))
        wait_for_the_other(run, status.attempt)
    return has_gone_on(run, status.attempt)


def wait_for_the_other(run: RunDir, attempt: int) -> None:
    """Until whoever holds the job has made the attempt after this one, or has let go of it without."""
    deadline = time.monotonic() + PATIENCE_S
    while not has_gone_on(run, attempt) and time.monotonic() < deadline:
        try:
            with locked(run, patience_s=0.0):
                return
        except StateError:
            time.sleep(POLL_S)


def has_gone_on(run: RunDir, attempt: int) -> bool:
    return run.list_attempts()[-1].number > attempt
