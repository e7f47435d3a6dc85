"""The journal, the best step and early stopping: what survives, what is set aside, when a run gives up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.runner.runs import is_of, read_progress
from runjob.runner.worker.evaluate import note_best, out_of_patience
from runjob.runner.worker.exchange import CANCEL, GO_ON, PREEMPT
from runjob.runner.worker.journal import Journal
from runjob.runner.worker.schedule import Clock
from runjob.runner.worker.seeds import seed_of
from runjob.runner.worker.state import TrainingState
from runjob.runner.worker.stopping import StopWatch
from runjob.schemas.job import EarlyStopping, Tracking
from runjob.schemas.quantities import parse_quantity
from runjob.schemas.run import RunDir, write_json

NOWHERE = Tracking(tensorboard=False, wandb=None, mlflow=None, profile=None)
CLOCK = Clock(rows=800, global_batch=8, tokens_per_step=1024, total_steps=1000)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "some")


def steps_of(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_beyond_the_checkpoint_move_to_the_new_attempt(run: RunDir) -> None:
    first = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    for step in range(6):
        first.log("train", step=step, loss=1.0)
    first.close()
    second = run.new_attempt()
    Journal(run, second, tracking=NOWHERE, from_step=3).close()
    assert steps_of(run.events) == [0, 1, 2, 3]
    assert steps_of(second.discarded) == [4, 5]


def test_records_beyond_the_checkpoint_move_though_it_was_written_after_them(run: RunDir) -> None:
    """As its thread does while training goes on."""
    first = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    for step in range(6):
        first.log("train", step=step, loss=1.0)
    first.log("checkpoint", step=3, path="step-00000003", removed=[])
    first.close()
    second = run.new_attempt()
    Journal(run, second, tracking=NOWHERE, from_step=3).close()
    assert steps_of(run.events) == [0, 1, 2, 3, 3]
    assert steps_of(second.discarded) == [4, 5]


def test_a_half_written_last_line_is_set_aside(run: RunDir) -> None:
    run.events.write_text('{"event": "train", "step": 1, "attempt": 1}\n{"event": "tra', encoding="utf-8")
    attempt = run.new_attempt()
    Journal(run, attempt, tracking=NOWHERE, from_step=1).close()
    assert steps_of(run.events) == [1]
    assert attempt.discarded.read_text() == '{"event": "tra'


def test_records_before_the_checkpoint_are_not_read_however_many_there_are(run: RunDir) -> None:
    def record(event: str, step: int) -> str:
        return json.dumps({"event": event, "step": step, "attempt": 1})

    lines = ["no record at all", *(record("train", step) for step in range(1, 6))]
    run.events.write_text("\n".join([*lines, record("finish", 5), ""]), encoding="utf-8")
    attempt = run.new_attempt()
    Journal(run, attempt, tracking=NOWHERE, from_step=3).close()
    assert run.events.read_text(encoding="utf-8").splitlines() == lines[:4]
    assert steps_of(attempt.discarded) == [4, 5, 5]


def test_a_record_with_a_line_separator_in_its_text_stays_whole(run: RunDir) -> None:
    first = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    first.log("advice", step=1, advice="one\u2028two")
    first.close()
    Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=1).close()
    assert [record["advice"] for record in run.read_events()] == ["one\u2028two"]


def test_events_are_read_by_their_kind(run: RunDir) -> None:
    journal = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    for event, said in (("start", "begin"), ("advice", "start anew"), ("train", ""), ("start", "again")):
        journal.log(event, step=1, said=said)
    journal.close()
    assert [record["said"] for record in run.read_events("start")] == ["begin", "again"]
    assert [record["event"] for record in run.read_events("start", "train")] == ["start", "train", "start"]
    assert len(list(run.read_events())) == 4


def test_a_run_that_begins_anew_keeps_no_record_of_step_0(run: RunDir) -> None:
    first = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    first.log("eval", step=0, loss=1.0)
    first.close()
    Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1).close()
    assert steps_of(run.events) == []


def test_progress_names_the_attempt_that_made_the_step(run: RunDir) -> None:
    run.new_attempt()
    journal = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=3)
    journal.progress(now=True, stage="train", step=4)
    journal.close()
    assert (is_of(1, read_progress(run)), is_of(2, read_progress(run))) == (False, True)


def test_tensorboard_gets_the_same_numbers(run: RunDir) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    write_json(run.job, {"job": {"seed": 42, "model": {"dropout": 0.5, "tied": True, "betas": [0.9]}, "name": None}})
    drawn = Tracking(tensorboard=True, wandb=None, mlflow=None, profile=None)
    journal = Journal(run, run.new_attempt(), tracking=drawn, from_step=-1)
    journal.log("train", step=1, loss=2.5, batch="abc")
    journal.log("eval", step=1, loss=3.5)
    journal.log("samples", step=1, texts=[{"prompt": "Er was", "text": "Er was eens"}, {"prompt": "", "problem": "no"}])
    journal.close()
    found = EventAccumulator(str(run.tensorboard)).Reload()
    (text,) = found.Tensors("samples/1/text_summary")
    assert text.tensor_proto.string_val == [b"**Er was**\n\nEr was eens"]
    (problem,) = found.Tensors("samples/2/text_summary")
    assert problem.tensor_proto.string_val[0].endswith(b"*no*")
    start = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(start).session_start_info.hparams
    assert {name: value.WhichOneof("kind") for name, value in values.items()} == {
        "seed": "number_value",
        "model.dropout": "number_value",
        "model.tied": "number_value",  # torch writes both kinds so
        "model.betas": "string_value",
    }
    assert [scalar.value for scalar in found.Scalars("train/loss")] == [2.5]
    assert [scalar.value for scalar in found.Scalars("eval/loss")] == [3.5]


def test_the_best_is_the_lowest_and_nan_never_is() -> None:
    state = TrainingState(step=5)
    assert note_best(state, "loss", {"loss": 2.0})
    state.step = 10
    assert not note_best(state, "loss", {"loss": float("nan")})
    assert not note_best(state, "loss", {"loss": 2.0})
    assert state.best is not None
    assert state.best.step == 5


def patience(text: str, *, min_delta: float = 0.0) -> EarlyStopping:
    return EarlyStopping(metric="loss", patience=parse_quantity(text), min_delta=min_delta)


def give_up_at(rule: EarlyStopping, losses: list[float], *, every: int) -> int | None:
    """The step at which a run with these evaluation losses stops early."""
    state = TrainingState()
    for loss in losses:
        state.step += every
        if out_of_patience(state, rule, {"loss": loss}, CLOCK):
            return state.step
    return None


def test_patience_counts_evaluations_since_the_last_improvement() -> None:
    assert give_up_at(patience("2 evaluations"), [3.0, 2.0, 2.5, 1.5, 1.6, 1.7, 1.8], every=10) == 60


def test_patience_in_epochs_is_counted_in_steps_of_them() -> None:
    # one epoch is 100 steps
    assert give_up_at(patience("2 epochs"), [3.0, *[4.0] * 9], every=50) == 250


def test_an_improvement_smaller_than_min_delta_is_none() -> None:
    assert give_up_at(patience("2 evaluations", min_delta=0.5), [3.0, 2.7, 2.6], every=10) == 30
    assert give_up_at(patience("2 evaluations", min_delta=0.1), [3.0, 2.7, 2.5], every=10) is None


def test_early_stopping_goes_through_a_checkpoint_unchanged() -> None:
    rule, state = patience("3 evaluations"), TrainingState()
    for loss in (3.0, 3.1, 3.2):
        state.step += 10
        assert not out_of_patience(state, rule, {"loss": loss}, CLOCK)
    again = TrainingState.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    assert out_of_patience(again, rule, {"loss": 3.3}, CLOCK)


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert seed_of(42, "dropout", 7, 56) == 1172372723056589360
    assert len({seed_of(42, "dropout", step, first) for step in range(50) for first in range(50)}) == 2500


def test_a_stop_request_is_seen_and_a_cancel_wins(run: RunDir) -> None:
    attempt = run.new_attempt()
    watch = StopWatch(attempt)
    assert watch.requested() == GO_ON
    attempt.request_stop("preempt")
    assert watch.requested() == PREEMPT
    attempt.request_stop("cancel")
    attempt.request_stop("preempt")
    assert watch.requested() == CANCEL


FULL = """
import resource, sys
from pathlib import Path
from runjob.runner.worker.journal import Journal
from runjob.schemas.errors import RunjobError
from runjob.schemas.job import Tracking
from runjob.schemas.run import RunDir

run = RunDir(Path(sys.argv[1]))
silent = Tracking(tensorboard=False, wandb=None, mlflow=None, profile=None)
journal = Journal(run, run.attempt(1), tracking=silent, from_step=-1)
journal.progress(now=True, step=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for step in range(1, 100):
        journal.log("train", step=step, loss=1.0)
except RunjobError as error:
    print(error)
    journal.progress(now=True, step=step, line="x" * 2000)
    journal.close()
"""


def test_a_disk_that_takes_no_more_records_is_said_and_no_record_is_torn(run: RunDir) -> None:
    """A limit on the size of files stands for the full disk."""
    run.new_attempt()
    done = subprocess.run([sys.executable, "-c", FULL, run.path], capture_output=True, text=True, check=True)
    said, _, way = done.stdout.partition("; ")
    whole = list(run.read_events())
    assert (
        said == f"{run.path}: the records of step {len(whole) + 1} can't be written: [Errno 28] No space left on device"
    )
    assert way.strip().endswith(f"then type: runjob resume {run.id}")
    assert run.events.read_bytes().count(b"\n") == len(whole) == steps_of(run.events)[-1]
    # news that found no room is no news
    assert read_progress(run)["step"] == 0


def test_a_record_that_is_damaged_leaves_with_those_of_later_steps(run: RunDir) -> None:
    first = Journal(run, run.new_attempt(), tracking=NOWHERE, from_step=-1)
    for step in range(1, 5):
        first.log("train", step=step, loss=1.0)
    first.close()
    lines = run.events.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"step"', b'"\xf3tep"')
    run.events.write_bytes(b"".join(lines))
    assert [record["step"] for record in run.read_events()] == [1, 2, 4]
    second = run.new_attempt()
    Journal(run, second, tracking=NOWHERE, from_step=2).close()
    assert steps_of(run.events) == [1, 2]
    assert len(second.discarded.read_bytes().splitlines()) == 2
