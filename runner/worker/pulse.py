"""How long what comes next may take before the run has hung. Rank 0 says it in progress.json with each sign of life,
and the supervisor, whom no rank can hold up, acts on it (launchers/watchdog.py)."""

from collections import deque
from statistics import median
from typing import Literal

from runjob.schemas.job import HungAfter

# Steps that the median is taken of: enough that a few slow ones don't move it.
STEPS = 64
# The end (the last save, the test side, the export) comes once, and nobody knows how long it takes.
Doing = Literal["step", "evaluation", "save", "rewind", "end"]


class Pulse:
    """`wait_s`: how long a step may stand waiting for data besides, where they are streamed."""

    def __init__(self, rule: HungAfter | None, *, wait_s: float) -> None:
        self._rule = rule
        self._wait_s = wait_s
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._longest: dict[Doing, float] = {}

    def beat(self, seconds: float) -> None:
        """A step has been made, in so many seconds."""
        self._steps.append(seconds)

    def took(self, doing: Doing, seconds: float) -> None:
        """The same of something that is rare: the longest counts, for there are few to take a median of."""
        self._longest[doing] = max(seconds, self._longest.get(doing, 0.0))

    def hung_after_s(self, doing: Doing) -> float | None:
        """`first` before the first one of the attempt, which may compile. None of the end, and where nobody wants to
        know."""
        usual = self._longest.get(doing)
        if doing == "step" and self._steps:
            usual = median(self._steps)
        if self._rule is None or doing == "end":
            return None
        if usual is None:
            return float(self._rule.first.amount) + self._wait_s
        return max(float(self._rule.at_least.amount), self._rule.factor * usual) + self._wait_s
