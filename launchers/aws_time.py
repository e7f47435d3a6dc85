"""How long a job would train on a rented machine: what it computes, over what the machine's GPUs can do.

Nobody knows before it has run; so the words say of what the figure is made, and `hardware.aws.tokens_per_s` puts a
measurement in its place. What is certain is only that it can't be faster than the GPUs' peak.
"""

import math
from dataclasses import dataclass

from runjob.launchers.aws_prices import Cost, table
from runjob.launchers.full_speed import SHARE_OF_PEAK, full_speed, in_words, steps_to_train
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Aws
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan

# For what is not in the estimate (the start, preparing, evaluating, saving) when a longer max_hours is advised
MARGIN, START_HOURS = 1.25, 1.0
# The most that hardware.aws.max_hours may be (hardware.schema.json)
LONGEST_HOURS = 720
MEASURED = "--set hardware.aws.tokens_per_s=... says it, once a run has shown it"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`hours` of training, None where nobody can say; `least`: the fewest that are possible, None where that is not
    sure either; `most`: the hours are an upper bound. `how` says of what they are made, or why there are none; `gpus`
    what computes at full speed in `least`."""

    hours: float | None
    least: float | None
    most: bool
    how: str
    gpus: str

    def __str__(self) -> str:
        if self.hours is None:
            return f"unknown: {self.how}"
        return f"{self.short} to train: {self.how}"

    @property
    def short(self) -> str:
        return "unknown" if self.hours is None else f"{self.about} {in_words(self.hours)}"

    @property
    def about(self) -> str:
        return "at most about" if self.most else "about"


def unknown(why: str) -> Expected:
    return Expected(hours=None, least=None, most=False, how=why, gpus="")


def expected_time(job: Job, plan: Plan, machine: Machine | None, *, done: int) -> Expected:
    """Of what is left after `done` steps; `machine` is None where only Amazon could say what the type has."""
    settings, work = job.hardware.aws, plan.work
    if settings is None or work is None:
        return unknown("the plan is of an earlier runjob")
    if plan.steps is None:
        return unknown("the number of steps is not known either")
    steps = steps_to_train(job, plan.steps, done=done)
    if settings.tokens_per_s is not None:
        tokens = steps * work.tokens
        how = f"{tokens:,} tokens at {settings.tokens_per_s:,g} a second (hardware.aws.tokens_per_s)"
        return Expected(hours=tokens / settings.tokens_per_s / 3600, least=None, most=work.most, how=how, gpus="")
    if work.operations is None:
        return unknown(f"neither the job nor a file here says the network's sizes; {MEASURED}")
    if machine is None and job.hardware.device == "cuda":
        absent = f"the type is not in the table of {table().date}: its GPUs are asked when it is rented"
        return unknown(f"{absent}; {MEASURED}")
    speed = full_speed(job, plan, () if machine is None else machine.gpus)
    if isinstance(speed, str):
        return unknown(f"{speed}; {MEASURED}")
    operations = steps * work.operations
    least = operations / speed.operations / 3600
    number = f"{operations:.1e}".replace("e+", "e")
    how = f"{number} operations at {SHARE_OF_PEAK:.0%} (assumed) of {speed.words}"
    # what may stop before its length, or has shorter rows than are known, may be done sooner
    sure = not work.most and job.evaluation.early_stopping is None
    hours = least / SHARE_OF_PEAK
    return Expected(hours=hours, least=least if sure else None, most=work.most, how=how, gpus=speed.words)


def too_long(expected: Expected, settings: Aws, *, remote: bool, cost: Cost) -> str:
    """What to say where the machine would end itself before the job; empty where it would not, as far as one knows."""
    hours = expected.hours
    if hours is None or hours <= settings.max_hours:
        return ""
    kept = "what it has saved by then is at output.remote, and `runjob resume ID` goes on from there"
    lost = "without output.remote what nobody has fetched by then (`runjob fetch ID`) is gone"
    takes = f"training takes {expected.about} {in_words(hours)}"
    return (
        f"hardware.aws.max_hours: {settings.max_hours:g}, and {takes}: the machine may end before; "
        f"{kept if remote else lost}; {longer(hours, settings, cost)}"
    )


def impossible(expected: Expected, settings: Aws, *, remote: bool, cost: Cost) -> str:
    """Why this may not be rented: its training is longer than the machine's life whatever happens, and nothing of it
    would be kept. Empty if it may."""
    if remote or expected.hours is None or expected.least is None or expected.least <= settings.max_hours:
        return ""
    return (
        f"hardware.aws.max_hours: {settings.max_hours:g}, and even at the full speed of {expected.gpus} training takes "
        f"{in_words(expected.least)}: the machine would end before, and all would be gone; "
        f"{longer(expected.hours, settings, cost)}, or name output.remote and resume from there"
    )


def longer(hours: float, settings: Aws, cost: Cost) -> str:
    """What to type so that it ends in time, within a budget that allows it."""
    enough = math.ceil(hours * MARGIN + START_HOURS)
    if enough > LONGEST_HOURS:
        return f"no machine may live longer than {LONGEST_HOURS} h: take a faster one, or a shorter training.length"
    typed = f"--set hardware.aws.max_hours={enough}"
    if settings.budget_usd is not None and cost.hourly is not None and enough * cost.hourly > settings.budget_usd:
        typed += f" --set hardware.aws.budget_usd={math.ceil(enough * cost.hourly)}"
    return f"{typed} gives it time"
