"""Which steps are bad, what a run remembers of them, and when fp16 has overflown too often."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.runner.worker.bad_steps import BadSteps, judge
from runjob.runner.worker.exchange import Agreement
from runjob.runner.worker.journal import Journal
from runjob.runner.worker.state import TrainingState
from runjob.schemas.job import OnBadStep, Spike, Tracking
from runjob.schemas.run import RunDir

NAN, INF = math.nan, math.inf


def rules(*, not_finite: str = "skip", spike: Spike | None = None, rewind_skips: int = 1) -> OnBadStep:
    return OnBadStep(
        not_finite=not_finite,  # type: ignore[arg-type]
        spike=spike,
        skips_in_a_row=5,
        rewinds=3,
        rewind_skips=rewind_skips,
        overflows_in_a_row=4,
    )


def spike(*, above: float = 6.0, window: int = 5) -> Spike:
    return Spike(action="rewind", above=above, window=window)


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (INF, 1.0), (2.0, NAN), (2.0, INF)])
def test_what_is_not_finite_is_bad_and_says_so(loss: float, norm: float) -> None:
    bad = judge(rules(), BadSteps(), loss=loss, norm=norm, scaled=False)
    assert bad is not None
    assert (bad.kind, bad.action, bad.why) == ("not_finite", "skip", f"loss {loss}, gradient norm {norm}")
    assert judge(rules(), BadSteps(), loss=2.0, norm=1e30, scaled=False) is None


def test_a_gradient_beyond_fp16_is_for_the_loss_scale_to_answer_and_a_loss_is_not() -> None:
    assert judge(rules(), BadSteps(), loss=2.0, norm=INF, scaled=True) is None
    assert judge(rules(), BadSteps(), loss=NAN, norm=INF, scaled=True) is not None


def test_a_spike_is_measured_in_deviations_of_the_losses_before_it_once_there_are_enough() -> None:
    rule = rules(spike=spike())
    memory = BadSteps(losses=[5.0, 5.1, 4.9, 5.2])
    assert judge(rule, memory, loss=50.0, norm=1.0, scaled=False) is None
    memory.note_good(4.8, rule, applied=True)
    # median 5, median distance 0.1
    limit = 5.0 + 6 * 1.4826 * 0.1
    assert judge(rule, memory, loss=limit - 1e-6, norm=1.0, scaled=False) is None
    bad = judge(rule, memory, loss=limit + 1e-6, norm=1.0, scaled=False)
    assert bad is not None
    assert (bad.kind, bad.action) == ("spike", "rewind")
    assert bad.why == "loss 5.88956, more than 6 deviations of 0.148 above the median of the last 5 losses, 5"
    assert judge(rules(), memory, loss=50.0, norm=1.0, scaled=False) is None


def test_losses_that_do_not_differ_make_no_spike_of_the_last_bit() -> None:
    memory = BadSteps(losses=[5.0] * 5)
    assert judge(rules(spike=spike()), memory, loss=5.02, norm=1.0, scaled=False) is None
    assert judge(rules(spike=spike()), memory, loss=5.04, norm=1.0, scaled=False) is not None


@given(losses=st.lists(st.floats(0.1, 20), min_size=5, max_size=30), fall=st.floats(0, 20))
def test_a_loss_that_is_no_higher_than_the_others_is_never_a_spike(losses: list[float], fall: float) -> None:
    rule = rules(spike=spike(above=0.01))
    memory = BadSteps()
    for loss in losses:
        memory.note_good(loss, rule, applied=True)
    assert len(memory.losses) == 5 and memory.losses == losses[-5:]
    assert judge(rule, memory, loss=min(memory.losses) - fall, norm=1.0, scaled=False) is None


@pytest.mark.parametrize(("skips", "passed"), [(1, [7, 7]), (3, [5, 7]), (100, [5, 7])])
def test_going_back_leaves_out_the_bad_step_and_those_before_it_up_to_the_checkpoint(
    skips: int, passed: list[int]
) -> None:
    before = BadSteps(skips=2, rewinds=1, passed_by=[[2, 3]], losses=[9.0])
    memory = BadSteps(losses=[5.0])
    memory.after_rewind(before, bad=7, to=4, rules=rules(rewind_skips=skips))
    assert memory == BadSteps(rewinds=2, passed_by=[[2, 3], passed], losses=[5.0])
    assert [step for step in range(1, 9) if memory.passes_by(step)] == [2, 3, *range(passed[0], 8)]


def test_a_step_that_is_left_out_counts_its_data_and_ends_a_row_of_skips_when_one_is_good() -> None:
    agreed = Agreement(predicted=7, tokens=9, digests=(b"", b""), stop=0, evaluate=False, save=False)
    state = TrainingState(last_train_loss=3.0)
    state.leave_out(agreed, seconds=1.0)
    assert (state.step, state.tokens, state.samples, state.skipped, state.last_train_loss) == (1, 9, 2, 1, 3.0)
    state.bad_steps.skips = 3
    state.bad_steps.note_good(2.0, rules(), applied=True)
    assert state.bad_steps.skips == 0
    assert TrainingState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_a_checkpoint_that_is_older_than_these_rules_can_be_read() -> None:
    raw = TrainingState(step=3).to_json()
    del raw["bad_steps"]
    assert TrainingState.from_json(raw) == TrainingState(step=3)


def test_going_back_sets_the_undone_records_aside_each_time(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "some")
    attempt = run.new_attempt()
    journal = Journal(
        run, attempt, tracking=Tracking(tensorboard=False, wandb=None, mlflow=None, profile=None), from_step=-1
    )

    def train(*steps: int) -> None:
        for step in steps:
            journal.log("train", step=step, loss=1.0)

    train(1, 2, 3, 4)
    journal.go_back(2)
    journal.log("rewind", step=2, bad_step=5)
    train(3, 4, 5)
    journal.go_back(4)
    train(5, 6)
    journal.close()
    told = [(record["event"], record["step"]) for record in run.read_events()]
    assert told == [("train", 1), ("train", 2), ("rewind", 2), *(("train", step) for step in (3, 4, 5, 6))]
    assert [json.loads(line)["step"] for line in attempt.discarded.read_text().splitlines()] == [3, 4, 5]
