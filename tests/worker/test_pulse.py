"""How long a step may take before a run has hung."""

from runjob.runner.worker.pulse import STEPS, Pulse
from runjob.schemas.job import HungAfter
from runjob.schemas.quantities import parse_quantity

FIRST_S = 1800.0


def pulse(*, factor: float = 20.0, at_least: str = "10 s", wait_s: float = 0.0) -> Pulse:
    rule = HungAfter(factor=factor, at_least=parse_quantity(at_least), first=parse_quantity("30 min"))
    return Pulse(rule, wait_s=wait_s)


def test_a_step_may_take_a_multiple_of_the_median_and_never_less_than_the_floor() -> None:
    steps = pulse()
    assert steps.hung_after_s("step") == FIRST_S
    steps.beat(0.1)
    assert steps.hung_after_s("step") == 10.0
    for seconds in (3.0, 2.0, 100.0, 1.0):
        steps.beat(seconds)
    assert steps.hung_after_s("step") == 40.0


def test_a_save_or_an_evaluation_may_take_a_multiple_of_the_longest_and_the_first_what_the_job_says() -> None:
    pauses = pulse()
    pauses.beat(1.0)
    assert pauses.hung_after_s("save") == FIRST_S
    for seconds in (0.1, 30.0, 2.0):
        pauses.took("save", seconds)
    assert pauses.hung_after_s("save") == 600.0
    assert pauses.hung_after_s("evaluation") == pauses.hung_after_s("rewind") == FIRST_S
    assert pauses.hung_after_s("end") is None


def test_only_the_last_steps_count_and_a_stream_may_be_waited_for() -> None:
    steps = pulse(at_least="1 min", wait_s=1200.0)
    assert steps.hung_after_s("step") == FIRST_S + 1200.0
    for seconds in [50.0] * STEPS + [4.0] * (STEPS // 2 + 1):
        steps.beat(seconds)
    assert steps.hung_after_s("step") == 80.0 + 1200.0


def test_who_does_not_want_to_know_waits_for_ever() -> None:
    steps = Pulse(None, wait_s=0.0)
    assert steps.hung_after_s("step") is None
    steps.beat(1.0)
    assert steps.hung_after_s("step") is None
