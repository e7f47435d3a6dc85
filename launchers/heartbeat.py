"""The supervisor's word in status.json: what becomes of the attempt, and every few seconds that somebody still stands
over it. While it lives nobody else writes there; once a later attempt has taken over, it does not either."""

import time

from runjob.schemas.own_log import say
from runjob.schemas.run import Attempt, RunDir, State

HEARTBEAT_S = 5.0
# A full disk is often emptied by somebody within minutes; the job's end should not be forgotten over it.
FINAL_WRITE_PATIENCE_S = 120.0


class Heartbeat:
    """`silent`: on another node than the first nothing is written, but asked whether a later attempt has begun."""

    def __init__(self, run: RunDir, attempt: Attempt, *, silent: bool) -> None:
        self.run = run
        self.attempt = attempt
        self.silent = silent
        self.state: State = "pending"
        self.message = ""
        self._next = 0.0

    def become(self, state: State, message: str) -> None:
        self.state, self.message = state, message
        self._next = 0.0
        self.beat()

    def beat(self) -> None:
        """Show that we live, if it is time. A full disk must not end a healthy job: a failed beat is only said."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + HEARTBEAT_S
        if self.silent or self.superseded():
            return
        try:
            self.run.write_status(self.state, attempt=self.attempt.number, message=self.message)
        except OSError as error:
            say(f"status.json can't be written: {error}")

    def superseded(self) -> bool:
        """Did somebody who could not reach us `resume --accept` the job elsewhere? Then the run is theirs."""
        return self.run.attempt(self.attempt.number + 1).path.exists()

    def write_last(self, state: State, message: str) -> None:
        deadline = time.monotonic() + FINAL_WRITE_PATIENCE_S
        while True:
            try:
                self.run.write_status(state, attempt=self.attempt.number, message=message)
                return
            except OSError as error:
                say(f"status.json can't be written: {error}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
