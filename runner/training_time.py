"""How long a job would train, and of what that figure is made: what a run in this home has measured, else what the
GPUs of this machine could do, else nothing, with the words that make it known. Nobody guesses.

A place that says so itself (runjob.launchers.base.Reckoner) is asked where nothing was measured. In no figure: the
start, preparing the data, saving.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from runjob.launchers import find_launcher
from runjob.launchers.base import Reckoner
from runjob.launchers.full_speed import SHARE_OF_PEAK, full_speed, in_words, steps_to_train
from runjob.runner.pace import FEWEST, Asked, Pace, Paces
from runjob.runner.place import Place
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job
from runjob.schemas.plan import Plan
from runjob.schemas.quantities import Quantity, parse_duration

Source = Literal["measured", "estimated", "unknown"]
# Steps that show how long one takes
SHOWN_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """`seconds` of `steps` and, as far as they are known, of `evaluations`; None where nobody can say. `how` says of
    what the figure is made, or why there is none; `run` is the one that measured it, `told` what the place itself says
    (`about 3 h`). `cost` is what it takes of the place's processors; `careful` is said where the place would stop the
    job before its end. `most`: an upper bound."""

    source: Source
    seconds: float | None
    most: bool
    how: str
    steps: int | None = None
    seconds_per_step: float | None = None
    evaluations: int | None = None
    seconds_per_evaluation: float | None = None
    run: str | None = None
    told: str | None = None
    cost: str | None = None
    careful: str | None = None

    @property
    def short(self) -> str:
        """For a table: `about 3 h`."""
        if self.seconds is None:
            return "unknown" if self.told is None else self.told
        return f"{'at most about' if self.most else 'about'} {in_words(self.seconds / 3600)}"

    def __str__(self) -> str:
        return f"{self.short}: {self.how}"


def expect(
    values: Mapping[str, Any], job: Job, plan: Plan, place: Place, rows: Facts | None, paces: Paces
) -> TrainingTime:
    """Of the whole job, or up to the step where it pauses."""
    asked = Asked(values=values, plan=plan, launcher=place.launcher, device=device_here(job, place))
    pace = paces.find(asked)
    if pace is not None:
        return by_pace(job, plan, pace, rows, launcher=place.launcher)
    launcher = find_launcher(place.launcher)
    if isinstance(launcher, Reckoner):
        return by_its_place(launcher.training_time(job, plan), place.launcher)
    return by_full_speed(job, plan, place)


def by_its_place(told: str, launcher: str) -> TrainingTime:
    how = f"no run in this home has measured it; of what {launcher} makes this stands below"
    return TrainingTime(
        source="unknown" if told == "unknown" else "estimated", seconds=None, most=False, how=how, told=told
    )


def unknown(how: str, *, pace: Pace | None = None) -> TrainingTime:
    run, seconds = (None, None) if pace is None else (pace.run, pace.seconds)
    return TrainingTime(source="unknown", seconds=None, most=False, how=how, run=run, seconds_per_step=seconds)


def device_here(job: Job, place: Place) -> str | None:
    """What it would compute on, by name; None where that is another machine."""
    if not place.here:
        return None
    if job.hardware.device != "cuda":
        return place.machine.processor
    return place.machine.gpus[0] if place.machine.gpus else ""


def by_pace(job: Job, plan: Plan, pace: Pace, rows: Facts | None, *, launcher: str) -> TrainingTime:
    of = f"{pace.seconds:.3g} s, the median of {pace.steps:,} of {pace.run} ({ran_on(pace)})"
    if plan.steps is None:
        return unknown(f"a step takes {of}, and how many there are is not known", pace=pace)
    steps = steps_to_train(job, plan.steps)
    seconds, how = steps * pace.seconds, f"{steps:,} steps of {of}"
    count = None if pace.evaluation_s is None else evaluations(job, plan, rows, seconds=seconds)
    if pace.evaluation_s is not None and count is not None:
        seconds += count * pace.evaluation_s
        how += f", and {count:,} evaluation(s) of {pace.evaluation_s:.3g} s"
    else:
        how += "; how long its evaluations take is not known"
    if rented := isinstance(find_launcher(launcher), Reckoner) and plan.work is not None:
        how += f"; `--set hardware.{launcher}.tokens_per_s={plan.work.tokens / pace.seconds:.0f}` reckons with it below"
    return TrainingTime(
        source="measured",
        seconds=seconds,
        most=job.evaluation.early_stopping is not None,
        how=how,
        steps=steps,
        seconds_per_step=pace.seconds,
        evaluations=count,
        seconds_per_evaluation=None if count is None else pace.evaluation_s,
        run=pace.run,
        cost=None if rented else cost_of(plan, seconds, ranks=pace.ranks, threads=pace.threads),
        careful=over_the_limit(job, seconds, launcher=launcher),
    )


def ran_on(pace: Pace) -> str:
    return f"{pace.ranks} rank(s) x {pace.threads} thread(s), {pace.device}"


def evaluations(job: Job, plan: Plan, rows: Facts | None, *, seconds: float) -> int | None:
    """How many there are in a training that takes so long: at each interval, at the start if the job says so, and
    always at the last step, which a pause comes before."""
    assert plan.steps is not None
    every, steps = job.evaluation.every, steps_to_train(job, plan.steps)
    beside = int(job.evaluation.at_start)
    if every.never:
        between = Fraction(0)
    elif every.unit == "seconds":
        between = Fraction(seconds) / every.amount
    else:
        period = period_of(every, plan, rows)
        if period is None:
            return None
        between = min(steps / period, Fraction(steps))  # no more than one a step
    return beside + (math.floor(between) if steps < plan.steps else max(math.ceil(between), 1))


def period_of(every: Quantity, plan: Plan, rows: Facts | None) -> Fraction | None:
    """Steps from one evaluation to the next; None where only the prepared data could say."""
    match every.unit:
        case "steps":
            return every.amount
        case "epochs":
            return None if rows is None else every.amount * Fraction(rows.rows, plan.batch.global_batch)
        case "tokens":
            return None if plan.work is None or plan.work.most else every.amount / plan.work.tokens
    return None


def by_full_speed(job: Job, plan: Plan, place: Place) -> TrainingTime:
    """What the GPUs of this machine could do, as it is assumed for rented ones; of other machines nothing is known."""
    measures = how_to_measure(job, plan, place.launcher)
    speed = full_speed(job, plan, place.machine.gpus) if place.here else f"{place.launcher} is not asked what it has"
    if isinstance(speed, str):
        return unknown(f"no run in this home has measured it, and {speed}; {measures}")
    if plan.steps is None:
        return unknown(f"the number of steps is not known; {measures}")
    if plan.work is None or plan.work.operations is None:
        return unknown(f"neither the job nor a file here says the network's sizes; {measures}")
    steps = steps_to_train(job, plan.steps)
    per_step = plan.work.operations / (speed.operations * SHARE_OF_PEAK)
    return TrainingTime(
        source="estimated",
        seconds=steps * per_step,
        most=plan.work.most or job.evaluation.early_stopping is not None,
        how=f"{steps:,} steps of {per_step:.3g} s, {SHARE_OF_PEAK:.0%} (assumed) of {speed.words}; {measures}",
        steps=steps,
        seconds_per_step=per_step,
        cost=cost_of(plan, steps * per_step, ranks=plan.batch.ranks, threads=plan.resources.threads),
    )


def how_to_measure(job: Job, plan: Plan, launcher: str) -> str:
    """What to type: a beginning of the job itself, which `resume` can go on from; a short one as a whole."""
    short = plan.steps is not None and plan.steps <= SHOWN_STEPS
    every = job.training.log_every
    often = every.unit == "steps" and every.amount * FEWEST < SHOWN_STEPS
    pause = [] if short else [f"training.stop_after={SHOWN_STEPS} steps"]
    words = [*pause, *([] if often else ["training.log_every=1 steps"])]
    sets = "".join(f" --set '{word}'" for word in words)
    return f"`runjob FILE{'' if launcher == 'local' else f' --launcher {launcher}'}{sets}` measures it"


def cost_of(plan: Plan, seconds: float, *, ranks: int, threads: int) -> str:
    """In hours of what computes, with so many ranks of so many threads: nobody here knows its price."""
    hours = seconds / 3600
    count, what = (ranks, "GPU") if plan.resources.gpus_per_node else (ranks * threads, "core")
    return (
        f"about {float(f'{count * hours:.2g}'):,.12g} {what} hours ({count} {what}(s)); their price is not known here"
    )


def over_the_limit(job: Job, seconds: float, *, launcher: str) -> str | None:
    """What a job that is longer than its limit goes through, where a launcher has one."""
    aws = job.hardware.aws
    if launcher == "aws" and aws is not None and seconds > 3600 * aws.max_hours:
        return (
            f"hardware.aws.max_hours: {aws.max_hours:g}, and training takes about {in_words(seconds / 3600)}: the "
            "machine ends before; `runjob resume` goes on on another"
        )
    slurm = job.hardware.slurm
    if launcher != "slurm" or slurm is None:
        return None
    field, limit = (
        ("hardware.slurm.time", slurm.time) if slurm.time is not None else ("hardware.time", job.hardware.time)
    )
    if limit is None or seconds <= parse_duration(limit) - slurm.signal_before:
        return None
    each = parse_duration(limit) - slurm.signal_before
    return (
        f"{field}: {limit}, and training takes about {in_words(seconds / 3600)}: {slurm.signal_before} s before each "
        f"limit it is saved, requeued and waits again, {math.ceil(seconds / each) - 1} time(s)"
    )
