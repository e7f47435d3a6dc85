"""A job that goes on by itself: where a place was taken away from it and its launcher says so, whoever follows it
begins the next attempt, as `resume` would. Nobody follows, nobody begins: then `runjob resume ID` does it."""

from collections.abc import Callable

from runjob.launchers.base import Requeuer
from runjob.runner.resume import Wish, resume
from runjob.runner.runs import launcher_of
from runjob.schemas.errors import StateError
from runjob.schemas.run import RunDir, Status


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
    return run.list_attempts()[-1].number > status.attempt
