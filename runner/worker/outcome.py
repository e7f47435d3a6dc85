"""How a stage tells its end: attempts/N/exit.json, because torchrun turns every exit code but 0 into 1."""

import os
import sys
from types import TracebackType

from runjob.schemas.causes import causes_of
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


def report_failure(attempt: Attempt, error: Exception, *, step: int, rank: int = 0) -> None:
    """What failed, in the error's own words; for a bug its type too, the traceback is in the log. Rank 0's words are
    how the attempt ended; those of another rank explain why rank 0 may have seen no more than a broken connection."""
    known = isinstance(error, RunjobError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    code = error.exit_code if isinstance(error, RunjobError) else 1
    reason, causes = type(error).__name__, causes_of(error)
    said = Exit(outcome="failed", code=code, step=step, reason=reason, error=text, causes=causes)
    try:
        attempt.write_exit(said, rank)
    except OSError as again:  # then the supervisor says what it knows: how this ended, and whether the disk is full
        say(f"{attempt.rank_exit(rank).name} can't be written: {again}")


def report_uncaught(attempt: Attempt) -> None:
    """An error that nobody catches, in this process before it trains (an import that fails), is told too."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        if isinstance(error, Exception):
            report_failure(attempt, error, step=0, rank=int(os.environ.get("RANK", "0")))

    sys.excepthook = tell
