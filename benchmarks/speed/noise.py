"""Do the columns learn the same? Their losses at the end of a row, against what seeds alone do to a peer.

Every repeat has a seed of its own, for order, masks and dropout; first weights are the same. Of each run the mean loss
of its last steps counts, weighted by tokens. What two such means may differ by is measured on peer A: the deviation of
its single steps from one seed to the next, and of the means themselves, whichever says more. Beyond LIMIT standard
errors of the difference a column learns something else. (Not on peer B, which groups rows by length: its long rows come
early in each fourth of them, where losses that still fall are higher.)
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.speed.runs import Run, Step

LIMIT = 3.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one column: its mean loss, that of the reference, and what they may differ by."""

    loss: float
    reference: float
    allowed: float

    @property
    def same(self) -> bool:
        """A loss that is no number is never the same."""
        return abs(self.loss - self.reference) <= self.allowed


def compare(runs: Sequence[Run], reference: Sequence[Run], *, last: int) -> Verdict:
    """`reference`: runs of peer A of at least two seeds."""
    error = standard_error(reference, last=last)
    return Verdict(
        loss=statistics.fmean(end_loss(run.last(last)) for run in runs),
        reference=statistics.fmean(end_loss(run.last(last)) for run in reference),
        allowed=LIMIT * error * math.sqrt(1 / len(runs) + 1 / len(reference)),
    )


def end_loss(steps: Sequence[Step]) -> float:
    return sum(share * step.loss for share, step in zip(shares(steps), steps, strict=True))


def shares(steps: Sequence[Step]) -> list[float]:
    tokens = sum(step.tokens for step in steps)
    return [step.tokens / tokens for step in steps]


def standard_error(runs: Sequence[Run], *, last: int) -> float:
    """Of one run's mean loss over its last steps."""
    if len({run.seed for run in runs}) < 2:
        raise ValueError("noise between seeds takes two of them")
    ends = [run.last(last) for run in runs]
    columns = zip(*ends, strict=True)  # the same step of every seed
    of_a_step = statistics.fmean(statistics.variance([step.loss for step in steps]) for steps in columns)
    weight = statistics.fmean(sum(share**2 for share in shares(steps)) for steps in ends)
    return max(math.sqrt(of_a_step * weight), statistics.stdev([end_loss(steps) for steps in ends]))
