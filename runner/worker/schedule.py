"""The learning rate as a function of the step alone: factor in [0, 1] of the peak. No scheduler object, no state, so
that a resumed run, or one stopped at `stop_after`, is on the same curve."""

import math
from dataclasses import dataclass
from fractions import Fraction

from runjob.schemas.errors import JobError
from runjob.schemas.job import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PolynomialSchedule,
    Schedule,
    WarmupStableDecay,
)
from runjob.schemas.quantities import Quantity


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How amounts with units become steps in this run: rows an epoch, sequences and tokens a step, steps in all."""

    rows: int
    global_batch: int
    tokens_per_step: int
    total_steps: int

    @staticmethod
    def of(length: Quantity, *, rows: int, global_batch: int, tokens_per_step: int) -> "Clock":
        steps = length.steps(steps_per_epoch=Fraction(rows, global_batch), tokens_per_step=tokens_per_step)
        return Clock(rows=rows, global_batch=global_batch, tokens_per_step=tokens_per_step, total_steps=steps)

    def steps(self, amount: Quantity) -> int:
        """Steps in an amount of steps, epochs, tokens or a share of the run, rounded up."""
        if amount.unit == "share":
            return math.ceil(amount.amount * self.total_steps)
        per_epoch = Fraction(self.rows, self.global_batch)
        return amount.steps(steps_per_epoch=per_epoch, tokens_per_step=self.tokens_per_step)


class LearningRate:
    """`rate(step)` for steps 1 to total: a linear warm-up that reaches the peak at its last step, then the shape."""

    def __init__(self, schedule: Schedule, clock: Clock, *, peak: float) -> None:
        self.schedule = schedule
        self.total = clock.total_steps
        self.warmup = clock.steps(schedule.warmup)
        self.decay = clock.steps(schedule.decay) if isinstance(schedule, WarmupStableDecay) else 0
        self.peak = peak
        if self.warmup >= self.total:
            raise JobError(
                f"training.schedule.warmup: {schedule.warmup} is {self.warmup} steps and the run has {self.total}; "
                "the peak would never be reached"
            )
        if self.warmup + self.decay > self.total:
            raise JobError(
                f"training.schedule.decay: {self.decay} steps of decay and {self.warmup} of warm-up do not fit "
                f"into {self.total} steps"
            )

    def rate(self, step: int) -> float:
        return self.peak * self.factor(step)

    def factor(self, step: int) -> float:
        if step <= self.warmup:
            return step / self.warmup
        # 0 at the end of the warm-up, 1 at the last step
        progress = (step - self.warmup) / (self.total - self.warmup)
        match self.schedule:
            case ConstantSchedule():
                return 1.0
            case LinearSchedule(final=final):
                return final + (1 - final) * (1 - progress)
            case CosineSchedule(final=final):
                return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
            case PolynomialSchedule(final=final, power=power):
                return final + (1 - final) * math.pow(1 - progress, power)
            case WarmupStableDecay(final=final):
                into_decay = max(step - (self.total - self.decay), 0) / max(self.decay, 1)
                return 1 - (1 - final) * into_decay
