"""One rank of a training run: `python -m runjob.runner.worker RUN`, started by torchrun. Reads everything from the run
directory, writes everything there, and says how it ended in attempts/N/exit.json before it exits."""

import contextlib
import faulthandler
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from runjob.runner.worker.outcome import attempt_of, report_ending, report_failure, report_uncaught
from runjob.runner.worker.stopping import StopWatch
from runjob.schemas.errors import RunjobError
from runjob.schemas.lifeline import STACKS_SIGNAL, die_with_parent
from runjob.schemas.run import RunDir


def main(run: RunDir) -> int:
    die_with_parent()
    attempt, rank = attempt_of(run), int(os.environ["RANK"])
    redirect_output(attempt.rank_log(rank))
    report_uncaught(attempt)
    faulthandler.register(STACKS_SIGNAL)  # also where Python itself is held up
    stop_watch = StopWatch(attempt)
    stop_watch.listen()
    with without("mlflow"):  # DeepSpeed's autotuner, which nobody here asks for, imports it: a second where it is there
        from runjob.runner.worker.session import Session

    session = Session(run, attempt, stop_watch)
    try:
        ending = session.run_to_end()
    except Exception as error:  # the one broad handler of the worker: whatever it was, the run directory says it
        with contextlib.suppress(OSError):  # a log that takes no more
            tell(error)
        if rank == 0:
            session.log_error(error)
        report_failure(attempt, error, step=session.step, rank=rank)
        return 1
    if rank == 0:
        return report_ending(attempt, ending.outcome, step=session.step, reason=ending.reason)
    return 0


@contextlib.contextmanager
def without(package: str) -> Iterator[None]:
    """Within, it is as if this package were not installed; whoever wants it imports it later."""
    sys.modules[package] = None  # type: ignore[assignment]  # the import system's own word for it
    try:
        yield
    finally:
        del sys.modules[package]


def tell(error: Exception) -> None:
    if isinstance(error, RunjobError):  # it says what to do; where in the code it was noticed helps nobody
        print(f"runjob: {error}", file=sys.stderr, flush=True)
    else:
        traceback.print_exc()


def redirect_output(log: Path) -> None:
    """stdout and stderr, also those of C++ libraries, go to this rank's own log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def leave(code: int) -> None:
    """Past the interpreter's shutdown: C++ threads of a process group have been seen to abort there (exit code -6)
    after all work was done."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(RunDir(Path(sys.argv[1]))))
