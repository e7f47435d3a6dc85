"""How a stage tells its end: attempts/N/exit.json, because torchrun turns every exit code but 0 into 1."""

import os

from runjob.schemas.errors import RunjobError
from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.own_log import say
from runjob.schemas.run import EXIT_CODES, Attempt, Exit, RunDir


def attempt_of(run: RunDir) -> Attempt:
    """The attempt that the supervisor started this process for; without one (`runjob prepare`) the newest."""
    if ATTEMPT_VARIABLE in os.environ:
        return run.attempt(int(os.environ[ATTEMPT_VARIABLE]))
    return run.list_attempts()[-1]


def report_ending(attempt: Attempt, outcome: str, *, step: int, reason: str) -> int:
    """A regular end; the exit code that belongs to it."""
    code = EXIT_CODES[outcome]
    attempt.write_exit(Exit(outcome=outcome, code=code, step=step, reason=reason))  # type: ignore[arg-type]
    return code


def report_failure(attempt: Attempt, error: Exception, *, step: int) -> None:
    """What failed, in the error's own words; for a bug its type too, the traceback is in the log."""
    known = isinstance(error, RunjobError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    code = error.exit_code if isinstance(error, RunjobError) else 1
    try:
        attempt.write_exit(Exit(outcome="failed", code=code, step=step, reason=type(error).__name__, error=text))
    except OSError as again:  # then the supervisor says what it knows: how this ended, and whether the disk is full
        say(f"exit.json can't be written: {again}")
