"""Advice: each sign is told where it should be and not where it shouldn't, once, and the same after a resume."""

import json
import math
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.runner.worker.advice import SIGNS, WINDOW, Step, Told, Watch, above_guessing, few_tokens
from runjob.runner.worker.state import TrainingState

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "advice.md"


def step(
    number: int, *, loss: float = 5.0, norm: float = 0.5, wait_s: float = 0.0, warmup: int = 0, clip=1.0, forward_s=()
) -> Step:
    return Step(
        number=number,
        warmup=warmup,
        loss=loss,
        grad_norm=norm,
        clip=clip,
        seconds=1.0,
        wait_s=wait_s,
        forward_s=forward_s,
    )


def told_at(told: list[tuple[int, Told]]) -> list[tuple[int, str]]:
    return [(number, one.sign.name) for number, one in told]


def run(steps: list[Step], watch: Watch | None = None) -> list[tuple[int, Told]]:
    watch = watch or Watch()
    return [(one.number, told) for one in steps for told in watch.after_step(one)]


def test_a_model_that_is_large_for_its_text_is_told_so() -> None:
    told = few_tokens(1_900, parameters=100)
    assert told is not None
    assert told.to_event()["advice"].startswith("the run will see 19 tokens a parameter; about 20 are compute-optimal")
    assert few_tokens(2_000, parameters=100) is None


def test_a_loss_without_a_new_low_in_five_windows_is_flat() -> None:
    # lowest in the third window, then a little above it for ever
    losses = [5.0, 4.5, 4.0, *[4.001] * 9]
    steps = [step(number, loss=losses[(number - 1) // WINDOW]) for number in range(1, 12 * WINDOW + 1)]
    [(number, told)] = run(steps)
    assert (number, told.sign.name, told.value) == (8 * WINDOW, "loss_flat", 5)
    assert "has not fallen for 5 x 100 steps" in told.to_event()["advice"]


def test_a_loss_that_falls_slowly_and_with_noise_is_not_flat() -> None:
    # a fall of 0.01 a window under noise of 0.5 from step to step
    steps = [step(n, loss=5.0 - 0.0001 * n + (0.5 if n % 2 else -0.5)) for n in range(1, 2000)]
    assert run(steps) == []


def test_warm_up_is_no_time_to_judge_the_loss_or_the_gradient() -> None:
    early = [step(number, norm=9.0, warmup=20 * WINDOW) for number in range(1, 20 * WINDOW + 1)]
    assert run(early) == []


@pytest.mark.parametrize(("norms", "told"), [([9.0] * 9 + [0.5], True), ([9.0] * 8 + [0.5] * 2, False)])
def test_a_gradient_is_clipped_in_nine_of_ten_steps_or_not(norms: list[float], told: bool) -> None:
    steps = [step(number, loss=5 - number / 1000, norm=norms[number % 10]) for number in range(1, 3 * WINDOW)]
    assert told_at(run(steps)) == ([(WINDOW, "gradient_clipped")] if told else [])


def test_without_clipping_nothing_is_clipped() -> None:
    assert run([step(number, norm=9.0, clip=None) for number in range(1, WINDOW + 1)]) == []


@pytest.mark.parametrize(("wait_s", "told"), [(0.11, True), (0.1, False)])
def test_more_than_a_tenth_of_the_time_is_too_long_to_wait(wait_s: float, told: bool) -> None:
    found = run([step(number, loss=5 - number / 1000, wait_s=wait_s) for number in range(1, 2 * WINDOW + 1)])
    assert told_at(found) == ([(WINDOW, "data_wait")] if told else [])


def evaluations(distances: list[float]) -> list[tuple[int, str]]:
    """Of evaluations whose loss is so much above the training loss since the one before."""
    watch, found = Watch(), []
    for number, distance in enumerate(distances, start=1):
        training = 4.0 - number / 10
        watch.after_step(step(2 * number - 1, loss=training - 1))
        watch.after_step(step(2 * number, loss=training + 1))
        found += [(number, told.sign.name) for told in watch.after_evaluation(training + distance)]
    return found


def test_a_distance_that_grows_three_times_is_told() -> None:
    assert evaluations([-0.1, 0.1, 0.2, 0.3, 0.4, 0.5]) == [(4, "evaluation_apart")]


@pytest.mark.parametrize(
    "distances",
    [
        [0.1, 0.2, 0.3],  # grew twice
        [0.1, 0.2, 0.15, 0.3, 0.4],  # not in a row
        [-0.4, -0.3, -0.2, -0.1],  # below the training loss, as with dropout
        [0.10, 0.11, 0.12, 0.13],  # hardly
    ],
)
def test_a_distance_that_does_not_is_not(distances: list[float]) -> None:
    assert evaluations(distances) == []


def test_an_evaluation_before_the_first_step_says_nothing() -> None:
    watch = Watch()
    assert watch.after_evaluation(9.0) == []
    assert watch == Watch(first=watch.first)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 899), st.integers(0, 10_000))
def test_a_resumed_run_is_told_the_same_at_the_same_step(cut: int, seed: int) -> None:
    random = Random(seed)
    steps = [
        step(n, loss=4 + random.random(), norm=random.choice([0.5, 9, 9]), wait_s=random.random() / 4)
        for n in range(1, 900)
    ]
    state = TrainingState()
    before = run(steps[:cut], state.watch)
    again = TrainingState.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    assert before + run(steps[cut:], again.watch) == run(steps)


def test_a_model_that_begins_worse_than_a_guess_is_told_so() -> None:
    assert above_guessing(math.log(2048) + 0.5, classes=2048) == []
    [told] = above_guessing(math.log(2048) + 3.25, classes=2048)
    assert (told.sign.name, told.value) == ("loss_at_start", pytest.approx(3.25))
    assert "3.2 nats worse than a guess" in told.to_event()["advice"]


def test_the_page_shows_the_table_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| ([\d.]+) \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    assert rows == [(sign.name, sign.watched, f"{sign.threshold:g}", sign.window) for sign in SIGNS]


def test_every_sentence_can_be_said() -> None:
    for sign in SIGNS:
        event = sign.tell(0.5).to_event()
        assert set(event) == {"name", "value", "threshold", "advice"}
        assert "{" not in event["advice"]


@pytest.mark.parametrize(("times", "share"), [((1.0, 1.1, 1.3, 1.0), 1.0), ((1.0, 1.1, 1.2, 1.0), None), ((), None)])
def test_a_rank_that_computes_longer_than_the_others_for_a_hundred_steps_is_named(
    times: tuple[float, ...], share: float | None
) -> None:
    told = run([step(number, forward_s=times) for number in range(1, WINDOW + 1)])
    assert [one.value for _, one in told] == ([] if share is None else [share])
    for _, one in told:
        event = one.to_event()
        assert (event["name"], event["rank"]) == ("slow_rank", 2)
        assert event["advice"].startswith("rank 2 computed more than 1.25 times as long as the others in 100%")


def test_ranks_that_are_slow_by_turns_are_not_slow() -> None:
    times = [(3.0, 1.0), (1.0, 3.0)]
    assert run([step(number, forward_s=times[number % 8 == 0]) for number in range(1, WINDOW + 1)]) == []
    assert len(run([step(number, forward_s=times[number % 11 == 0]) for number in range(1, WINDOW + 1)])) == 1


def test_a_window_with_steps_that_were_left_out_is_judged_by_the_others() -> None:
    # nine of ten steps are left out, every one that was made was clipped
    watch, told = Watch(), []
    for number in range(1, WINDOW + 1):
        made = number % 10 == 0 and number < WINDOW
        told += watch.after_step(step(number, norm=9.0)) if made else watch.after_any(number, warmup=0)
    assert [(one.sign.name, one.value) for one in told] == [("gradient_clipped", 1.0)]
    assert (watch.counted, watch.lowest) == (0, 5.0)


def test_a_model_that_is_worse_than_it_began_is_told_once() -> None:
    watch, told = Watch(), []
    for number, loss in enumerate([6.3, 6.0, 6.7, 6.81, 9.0]):
        if number:
            watch.after_step(step(number, loss=loss))
        told += [(number, one.sign.name, round(one.value, 2)) for one in watch.after_evaluation(loss)]
    assert told == [(3, "evaluation_rose", 0.51)]
