"""Watch a job until it ends: a progress bar on a terminal, a few plain lines elsewhere.

Only files are read (status.json, progress.json, events.jsonl), so following is the same for a job of a minute ago and
for one of another machine, and leaving it changes nothing.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, Protocol

from runjob.runner.cancel import cancel
from runjob.runner.lines import event_line
from runjob.runner.runs import bring_logs, newest_attempt, planned_steps, read_progress, state_of
from runjob.runner.tail import EventTail
from runjob.schemas.run import ALIVE_STATES, RunDir, Status

POLL_S = 0.25
# Elsewhere than on a terminal one line of training in this time is enough; evaluations are always shown.
QUIET_S = 10.0

Choice = Literal["detach", "stop"]


class View(Protocol):
    """Where news go: a terminal with a bar, or plain lines."""

    def status(self, status: Status, *, note: str) -> None: ...
    def event(self, record: dict[str, Any], *, steps: int | None) -> None: ...
    def paused(self) -> AbstractContextManager[None]: ...


def follow(run: RunDir, *, quiet: bool) -> Status | None:
    """The status in which the job ended, or None if the user detached; nothing of the way there if `quiet`."""
    tail = EventTail(run.events)
    since = newest_attempt(run).number
    stopping = False
    with open_view(quiet=quiet) as view:
        while True:
            try:
                return _watch(run, tail, view, since=since)
            except KeyboardInterrupt:
                with view.paused():  # a bar that moves would write over the question
                    if stopping or ask() == "detach":
                        return None
                    stopping = True
                    print(cancel(run), file=sys.stderr)


def _watch(run: RunDir, tail: EventTail, view: View, *, since: int) -> Status:
    """`since` is the first attempt to be shown; a place that starts further ones by itself is followed on."""
    while True:
        status = state_of(run)
        bring_logs(run, newest_attempt(run), status)
        steps = planned_steps(run, read_progress(run))
        for record in tail.read():
            if record["attempt"] >= since:
                view.event(record, steps=steps)
        if has_ended(status):
            return status
        view.status(status, note=preparation(read_progress(run)))
        time.sleep(POLL_S)


def has_ended(status: Status) -> bool:
    """Of a host that can't be reached just now it isn't known; the job may well go on there, and so does whoever
    waits for it."""
    return status.state not in (*ALIVE_STATES, "unreachable")


def preparation(progress: Mapping[str, Any]) -> str:
    """How far the preparation of the data is, as its stage reports it; training speaks through events."""
    return str(progress["line"]) if "line" in progress else ""


def ask() -> Choice:
    """Ctrl-C was pressed: what is meant? Nobody to ask, or pressed again, means detach, which harms nothing."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print("interrupted: detached, the job goes on", file=sys.stderr)
        return "detach"
    try:
        print("\nd = detach (the job goes on), s = save and stop it, Enter = d: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        return "detach"
    return "stop" if answer in ("s", "stop") else "detach"


@contextmanager
def open_view(*, quiet: bool) -> Iterator[View]:
    if quiet:
        yield SilentView()
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from runjob.runner.bar import open_bar

        with open_bar() as bar:
            yield bar
    else:
        yield PlainView()


class SilentView:
    def status(self, status: Status, *, note: str) -> None:
        pass

    def event(self, record: dict[str, Any], *, steps: int | None) -> None:
        pass

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()


class PlainView:
    def __init__(self) -> None:
        self._said = ""
        self._noted = ""
        self._last_note = self._last_train = float("-inf")

    def status(self, status: Status, *, note: str) -> None:
        said = f"{status.state}: {status.message}" if status.message else status.state
        if said != self._said:
            self._said = said
            print(said, flush=True)
        now = time.monotonic()
        if note and note != self._noted and now - self._last_note >= QUIET_S:
            self._noted, self._last_note = note, now
            print(note, flush=True)

    def event(self, record: dict[str, Any], *, steps: int | None) -> None:
        now = time.monotonic()
        last_step = steps is not None and record["step"] == steps
        if record["event"] == "train" and now - self._last_train < QUIET_S and not last_step:
            return
        line = event_line(record, steps=steps)
        if line is not None:
            print(line, flush=True)
            self._last_train = now if record["event"] == "train" else self._last_train

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()
