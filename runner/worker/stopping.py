"""How a request to stop reaches the loop: a file in the attempt's directory (the supervisor writes it, on every
launcher), or SIGTERM to a rank, unless the launcher keeps signals to itself. Each rank looks before each step; the
exchange makes them agree on the same one."""

import os
import signal
from types import FrameType

from runjob.runner.worker.exchange import CANCEL, GO_ON, PREEMPT, Stop
from runjob.schemas.lifeline import SIGNALS_VARIABLE, supervisor_alive
from runjob.schemas.run import Attempt


class StopWatch:
    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.signalled = False

    def listen(self) -> None:
        """SIGTERM and friends set a flag instead of ending the process; a second one changes nothing."""
        if SIGNALS_VARIABLE in os.environ:
            return  # ignored since before this process began
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._note)

    def requested(self) -> Stop:
        if not supervisor_alive():
            # Linux's kernel has ended this rank already (PR_SET_PDEATHSIG); elsewhere it does so itself
            os._exit(1)
        reason = self.attempt.stop_reason()
        if reason is not None:
            return CANCEL if reason == "cancel" else PREEMPT
        return PREEMPT if self.signalled else GO_ON

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
