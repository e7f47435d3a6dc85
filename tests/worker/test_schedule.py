"""The learning rate is a function of the step: exact values at the corners of every shape."""

from fractions import Fraction

import pytest

from runjob.runner.worker.cadence import Cadence
from runjob.runner.worker.schedule import Clock, LearningRate
from runjob.schemas.errors import JobError
from runjob.schemas.job import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PolynomialSchedule,
    Schedule,
    WarmupStableDecay,
)
from runjob.schemas.quantities import parse_quantity, parse_warmup

CLOCK = Clock(rows=1000, global_batch=8, tokens_per_step=1024, total_steps=110)
TEN = parse_quantity("10 steps")


def rates(schedule: Schedule, *steps: int) -> list[float]:
    learning_rate = LearningRate(schedule, CLOCK, peak=2.0)
    return [learning_rate.rate(step) for step in steps]


def test_warm_up_rises_from_a_tenth_to_the_peak() -> None:
    assert rates(ConstantSchedule(kind="constant", warmup=TEN), 1, 5, 10, 11, 110) == [0.2, 1.0, 2.0, 2.0, 2.0]


def test_linear_falls_to_its_final_share_at_the_last_step() -> None:
    assert rates(LinearSchedule(kind="linear", warmup=TEN, final=0.5), 10, 60, 110) == [2.0, 1.5, 1.0]


def test_cosine_is_half_way_in_the_middle() -> None:
    assert rates(CosineSchedule(kind="cosine", warmup=TEN, final=0.1), 10, 60, 110) == pytest.approx([2.0, 1.1, 0.2])


def test_polynomial_bends_by_its_power() -> None:
    schedule = PolynomialSchedule(kind="polynomial", warmup=TEN, final=0.0, power=2.0)
    assert rates(schedule, 10, 60, 110) == pytest.approx([2.0, 0.5, 0.0])


def test_warmup_stable_decay_holds_the_peak_until_the_decay() -> None:
    schedule = WarmupStableDecay(kind="warmup_stable_decay", warmup=TEN, final=0.0, decay=parse_warmup("20 steps"))
    assert rates(schedule, 10, 50, 90, 100, 110) == pytest.approx([2.0, 2.0, 2.0, 1.0, 0.0])


def test_a_share_of_the_run_is_rounded_up_to_steps() -> None:
    assert CLOCK.steps(parse_warmup(0.05)) == 6


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(JobError, match="110 steps and the run has 110"):
        LearningRate(ConstantSchedule(kind="constant", warmup=parse_quantity("110 steps")), CLOCK, peak=1.0)


def test_decay_and_warm_up_must_fit_together() -> None:
    schedule = WarmupStableDecay(kind="warmup_stable_decay", warmup=TEN, final=0.0, decay=parse_warmup("101 steps"))
    with pytest.raises(JobError, match="do not fit"):
        LearningRate(schedule, CLOCK, peak=1.0)


@pytest.mark.parametrize(
    ("length", "steps"), [("110 steps", 110), ("3 epochs", 375), ("1M tokens", 977), ("0.5 epochs", 63)]
)
def test_every_unit_of_length_becomes_steps(length: str, steps: int) -> None:
    clock = Clock.of(parse_quantity(length), rows=1000, global_batch=8, tokens_per_step=1024)
    assert clock.total_steps == steps


def due(every: str, until: int) -> list[int]:
    cadence = Cadence(parse_quantity(every), CLOCK)
    return [step for step in range(until + 1) if cadence.due(step)]


def test_an_interval_in_steps_is_due_at_its_multiples() -> None:
    assert due("7 steps", 22) == [7, 14, 21]


def test_an_interval_in_epochs_is_due_at_the_step_that_completes_it() -> None:
    # an epoch is 125 steps; half of one 62.5
    assert due("0.5 epochs", 260) == [63, 125, 188, 250]


def test_an_interval_in_tokens_is_due_at_the_step_that_reaches_it() -> None:
    assert due("2500 tokens", 8) == [3, 5, 8]


def test_never_is_never_due() -> None:
    assert due("never", 100) == []
    assert not Cadence(parse_quantity("never"), CLOCK).time_is_up()


def test_an_interval_in_minutes_is_asked_of_the_clock_alone() -> None:
    cadence = Cadence(parse_quantity("30 min"), CLOCK)
    assert not any(cadence.due(step) for step in range(100))
    assert not cadence.time_is_up()
    cadence.last -= 1800
    assert cadence.time_is_up()
    cadence.restart()
    assert not cadence.time_is_up()


def test_an_epoch_of_a_corpus_that_the_batch_does_not_divide_is_exact() -> None:
    clock = Clock.of(parse_quantity("1 epoch"), rows=1001, global_batch=8, tokens_per_step=8)
    assert clock.total_steps == 126
    assert Fraction(1001, 8) < 126
