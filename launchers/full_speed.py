"""What the GPUs of a machine can compute at most, and what is made of it: the ground of every time that nobody has
measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runjob.launchers.accelerators import COMPUTED_IN, speeds
from runjob.schemas.job import Job
from runjob.schemas.plan import Plan

# What is made of a peak: 21 to 46 % in four large trainings (Chowdhery et al. 2022, table 3), and small networks on
# few GPUs are rather below than above their middle.
SHARE_OF_PEAK = 0.3


@dataclass(frozen=True, kw_only=True)
class FullSpeed:
    """Operations a second of all GPUs that the job uses, at their peak, and the same in words."""

    operations: float
    words: str


def full_speed(job: Job, plan: Plan, gpus: Sequence[str]) -> FullSpeed | str:
    """Of nodes that have these GPUs each, all of one kind; or why nobody can say."""
    known = speeds()
    if job.hardware.device != "cuda":
        return f"of device {job.hardware.device} there is no figure"
    if not gpus:
        return "the machine has no GPU"
    gpu = gpus[0]
    if gpu not in known.gpus:
        return f"{gpu} is not in the table of {known.date} ({', '.join(known.gpus)})"
    peak, kind = known.gpus[gpu].peak(job.training.precision), COMPUTED_IN[job.training.precision]
    if peak is None:
        return f"{gpu} has no {kind} units (table of {known.date}), and emulates it"
    count = plan.resources.nodes * min(plan.resources.ranks_per_node, plan.resources.gpus_per_node)
    words = f"{count} x {gpu}, {peak:g} TFLOP/s each in {kind} (table of {known.date})"
    return FullSpeed(operations=count * peak * 1e12, words=words)


def steps_to_train(job: Job, steps: int, *, done: int = 0) -> int:
    """Of so many, until the run ends or pauses."""
    pause = job.training.stop_after
    last = steps if pause is None else min(steps, int(pause.amount))
    return max(last - done, 0)


def in_words(hours: float) -> str:
    """Two digits are more than is known.

    >>> [in_words(hours) for hours in (0.004, 0.25, 3.04, 31.4, 1234.5)]
    ['1 min', '15 min', '3 h', '31 h', '1,200 h']
    """
    if hours < 1:
        return f"{max(math.ceil(hours * 60 - 0.5), 1)} min"
    return f"{float(f'{hours:.2g}'):,.12g} h"
