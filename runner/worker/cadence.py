"""When something is due: every so many steps, epochs, tokens or minutes. All but the minutes are pure functions of the
step, so that a resumed run evaluates, logs and saves where the unbroken one does."""

import time
from fractions import Fraction

from runjob.runner.worker.schedule import Clock
from runjob.schemas.quantities import Quantity


class Cadence:
    """`due(step)` is true at the first step at or past each multiple of the interval."""

    def __init__(self, every: Quantity, clock: Clock) -> None:
        self.every = every
        self.period = self._period(clock)
        self.last = time.monotonic()

    def _period(self, clock: Clock) -> Fraction | None:
        """Interval in steps, exact; None for minutes and `never`."""
        match self.every.unit:
            case "steps":
                return self.every.amount
            case "epochs":
                return self.every.amount * Fraction(clock.rows, clock.global_batch)
            case "tokens":
                return self.every.amount / clock.tokens_per_step
            case _:
                return None

    def due(self, step: int) -> bool:
        if self.period is None or step == 0:
            return False
        return Fraction(step) // self.period > Fraction(step - 1) // self.period

    def time_is_up(self) -> bool:
        """For an interval of minutes: rank 0 asks this, and all ranks act on its answer at the same step."""
        return self.every.unit == "seconds" and time.monotonic() - self.last >= float(self.every.amount)

    def restart(self) -> None:
        self.last = time.monotonic()
