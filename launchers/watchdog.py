"""Has a run hung? Rank 0 says in progress.json how long its next step may take (runner/worker/pulse.py); where nothing
new has come for that long, every rank writes down where it is, and the attempt ends.

A supervisor asks, since a rank that is stopped, or that holds Python's lock, can't: not even for itself. It counts the
time in which it ran itself, so a machine that slept and a job that was suspended have not hung.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from runjob.schemas.causes import causes_of
from runjob.schemas.errors import HungError
from runjob.schemas.json_object import read_object
from runjob.schemas.lifeline import STACKS_SIGNAL
from runjob.schemas.own_log import say
from runjob.schemas.processes import ProcessFacts, descendants
from runjob.schemas.run import EXIT_CODES, Attempt, Exit, RunDir, written_at

# Of one look at the most: between two of them less time passes, unless this process was stopped itself
LONGEST_LOOK_S = 1.0
# A rank that can write its stacks does so within milliseconds; one that waits for a disk never does.
STACKS_WITHIN_S = 2.0
RANK_MODULE = b"runjob.runner.worker"


class Watchdog:
    """Over one stage of one attempt."""

    def __init__(self, run: RunDir, attempt: Attempt) -> None:
        self._run = run
        self._attempt = attempt
        self._written = written_at(str(run.progress))
        self._looked = time.monotonic()
        self._quiet_s = 0.0
        self._limit_s: float | None = None
        self._step = 0

    def hung(self) -> bool:
        """Has no step been made for longer than rank 0 said that one may take? To be asked again and again."""
        now, written = time.monotonic(), written_at(str(self._run.progress))
        self._quiet_s += min(now - self._looked, LONGEST_LOOK_S)
        self._looked = now
        if written != self._written:
            self._written, self._quiet_s = written, 0.0
            self._read()
        return self._limit_s is not None and self._quiet_s > self._limit_s

    def _read(self) -> None:
        said = read_object(self._run.progress)
        limit = said.get("hung_after_s") if said.get("attempt") == self._attempt.number else None
        self._limit_s = float(limit) if limit is not None else None
        self._step = int(said["step"]) if limit is not None else 0

    def describe(self) -> str:
        """Before anybody is ended: which rank is held up can be seen only while it lives."""
        stopped = [f"rank {rank} is stopped (SIGSTOP, or a debugger)" for rank in stopped_ranks()]
        what = "; ".join(stopped) or "no rank is stopped from outside"
        return (
            f"no step for {self._quiet_s:.0f} s after step {self._step}: {what}; where each rank was stands in its "
            f"rank-N.log in {self._attempt.path}; the newest checkpoint is whole: runjob resume {self._run.id} "
            "(training.hung_after says how long a step may take)"
        )

    def report(self, why: str) -> None:
        """exit.json, once all ranks have ended and none can write it any more."""
        say(why)
        if not self._attempt.exit.exists():
            code = EXIT_CODES["failed"]
            hung = HungError(why)
            said = Exit(
                outcome="failed",
                code=code,
                step=self._step,
                reason=HungError.__name__,
                error=why,
                causes=causes_of(hung),
            )
            self._attempt.write_exit(said)


def ranks() -> dict[int, ProcessFacts]:
    """The ranks below this process, by their numbers; none where there is no /proc."""
    found = {}
    for process in descendants(os.getpid()):
        number = rank_of(process.pid)
        if number is not None:
            found[number] = process
    return dict(sorted(found.items()))


def rank_of(pid: int) -> int | None:
    """The number of the rank that this process is, if it is one: torchrun names the module too, and what a rank starts
    inherits its number."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    numbers = [variable.removeprefix(b"RANK=") for variable in variables if variable.startswith(b"RANK=")]
    return int(numbers[0]) if numbers and RANK_MODULE in words else None


def stopped_ranks() -> list[int]:
    return [rank for rank, process in ranks().items() if process.stopped]


def ask_stacks() -> None:
    """Every rank writes into its log where its threads are; one that was stopped is let go for it."""
    asked = ranks()
    for process in asked.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, STACKS_SIGNAL)
            os.kill(process.pid, signal.SIGCONT)
    if asked:
        time.sleep(STACKS_WITHIN_S)
