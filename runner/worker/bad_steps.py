"""What a bad step is, and what a run remembers of those that it had: pure, of numbers that all ranks have agreed on, so
that each of them decides the same. What becomes of such a step stands in the job (`training.on_bad_step`); it is done
in bad_step_actions.py, before anything is updated."""

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from runjob.schemas.job import BadStepAction, OnBadStep, Spike

# The standard deviation of a normal distribution over its median absolute deviation
NORMAL = 1.4826
# Losses that hardly differ are not made of spikes: a thousandth of their median counts as a deviation.
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True, kw_only=True)
class Bad:
    """What is wrong with a step, in a word and in a sentence, and what the job wants then."""

    kind: Literal["not_finite", "spike"]
    action: BadStepAction
    why: str


@dataclass(kw_only=True)
class BadSteps:
    """Goes through checkpoints. `skips` and `overflows` (fp16): how many in a row up to now; `rewinds`: how many there
    were; `passed_by`: first and last step of what is left out since the run went back; `losses`: the last of good
    steps, where spikes are looked for."""

    skips: int = 0
    overflows: int = 0
    rewinds: int = 0
    passed_by: list[list[int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def passes_by(self, step: int) -> bool:
        return any(first <= step <= last for first, last in self.passed_by)

    def note_good(self, loss: float, rules: OnBadStep, *, applied: bool) -> None:
        """A step was made, or (`applied` false) left out by fp16's loss scaling."""
        self.skips = 0
        self.overflows = 0 if applied else self.overflows + 1
        if rules.spike is not None:
            self.losses = [*self.losses, loss][-rules.spike.window :]

    def after_rewind(self, before: "BadSteps", *, bad: int, to: int, rules: OnBadStep) -> None:
        """This is what the checkpoint of step `to` remembers; `before` is what the run knew at the bad step."""
        first = max(bad - rules.rewind_skips + 1, to + 1)
        self.rewinds = before.rewinds + 1
        self.passed_by = [*before.passed_by, [first, bad]]


def judge(rules: OnBadStep, memory: BadSteps, *, loss: float, norm: float, scaled: bool) -> Bad | None:
    """What is wrong with a step of this loss and gradient norm. `scaled`: a gradient beyond fp16's range is for loss
    scaling to answer, which leaves out the step."""
    if not math.isfinite(loss) or not (math.isfinite(norm) or scaled):
        return Bad(kind="not_finite", action=rules.not_finite, why=f"loss {loss}, gradient norm {norm}")
    if rules.spike is None or len(memory.losses) < rules.spike.window:
        return None
    return _spike(rules.spike, memory.losses, loss)


def _spike(rule: Spike, losses: list[float], loss: float) -> Bad | None:
    middle = median(losses)
    deviation = max(NORMAL * median(abs(one - middle) for one in losses), LEAST_DEVIATION * middle)
    limit = middle + rule.above * deviation
    if loss <= limit:
        return None
    usual = f"the median of the last {len(losses)} losses, {middle:.6g}"
    why = f"loss {loss:.6g}, more than {rule.above:g} deviations of {deviation:.3g} above {usual}"
    return Bad(kind="spike", action=rule.action, why=why)
