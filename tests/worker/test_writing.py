"""The thread that writes a checkpoint: the same bytes as without it, one at a time; its failures reach who asks."""

import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from runjob.runner.worker.checkpoint import Writer, open_checkpoint
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.journal import Journal
from runjob.runner.worker.optimizer_state import NamedState
from runjob.runner.worker.session import Session
from runjob.runner.worker.state import Best, TrainingState
from runjob.runner.worker.stopping import StopWatch
from runjob.runner.worker.writing import Snapshot, Writing
from runjob.schemas.errors import CheckpointError, NumericsError
from runjob.schemas.job import Tracking
from runjob.schemas.manifest import folders_in
from runjob.schemas.run import RunDir

IDENTITY: dict[str, object] = {"data": "d1"}
OPTIMIZER: dict[str, object] = {"adam_step": 7, "loss_scaler": None}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "some")


class Gate:
    """Stands for the journal, which is synced first: what is being written waits here until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def sync(self) -> None:
        assert self.open.wait(timeout=20)


def at_once() -> None:
    return


def tensors(step: int) -> tuple[NamedState, ...]:
    generator = torch.Generator().manual_seed(step)
    names = ("a.weight", "b.bias")
    return tuple(NamedState(name, *(torch.randn(64, 300, generator=generator) for _ in range(3))) for name in names)


def snapshot(step: int, *, best: Best | None = None, keep: int = 3) -> Snapshot:
    state = TrainingState(step=step, tokens=step * 10, best=best)
    return Snapshot(
        tensors=tensors(step), state=state, identity=IDENTITY, optimizer=OPTIMIZER, keep=keep, stalled_s=0.25
    )


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit on the size of files stands for the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_thread_writes_the_bytes_that_the_loop_itself_would(run: RunDir, tmp_path: Path) -> None:
    writing = Writing(run, sync_journal=at_once)
    writing.begin(snapshot(7, best=Best(step=5, value=1.25)))
    written = writing.result()
    assert written is not None
    assert (written.step, written.name, written.removed, written.stalled_s) == (7, "step-00000007", (), 0.25)
    other = RunDir.create(tmp_path, "other")
    writer = Writer(other, 7)
    for tensor in tensors(7):
        writer.add(tensor)
    state = TrainingState(step=7, tokens=70, best=Best(step=5, value=1.25))
    by_hand = writer.finish(state, identity=IDENTITY, optimizer=OPTIMIZER)
    files = {path.name: path.read_bytes() for path in by_hand.iterdir()}
    assert {path.name: path.read_bytes() for path in (run.checkpoints / written.name).iterdir()} == files
    assert run.latest.read_text() == other.latest.read_text()


def test_who_goes_on_meanwhile_sees_no_checkpoint_until_it_is_whole(run: RunDir) -> None:
    gate = Gate()
    writing = Writing(run, sync_journal=gate.sync)
    writing.begin(snapshot(7))
    assert not writing.has_ended()
    assert folders_in(run.checkpoints) == {}
    gate.open.set()
    assert writing.result() is not None
    assert open_checkpoint(run.checkpoints / "step-00000007").state.tokens == 70
    assert not writing.has_ended()
    assert writing.result() is None


def test_old_checkpoints_go_when_the_new_one_is_there(run: RunDir) -> None:
    writing = Writing(run, sync_journal=at_once)
    removed = []
    for step in (5, 10, 15, 20):
        writing.begin(snapshot(step, best=Best(step=5, value=1.0), keep=2))
        written = writing.result()
        assert written is not None
        removed.append(written.removed)
    assert removed == [(), (), (), ("step-00000010",)]
    assert list(folders_in(run.checkpoints)) == [5, 15, 20]


def test_a_disk_that_fills_up_in_the_thread_is_said_once_and_leaves_the_older_checkpoint(run: RunDir) -> None:
    writing = Writing(run, sync_journal=at_once)
    writing.begin(snapshot(7))
    writing.result()
    with files_of_at_most(100_000):
        writing.begin(snapshot(14))
        with pytest.raises(CheckpointError, match=r"the checkpoint of step 14 can't be written: .*File too large"):
            writing.result()
    assert writing.result() is None
    # the folder that was begun is gone too, and with it the room that it took
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["LATEST", "step-00000007"]
    assert run.latest.read_text() == "step-00000007\n"


def test_a_folder_that_is_gone_is_said_too(run: RunDir) -> None:
    writing = Writing(run, sync_journal=at_once)
    shutil.rmtree(run.checkpoints)
    writing.begin(snapshot(7))
    with pytest.raises(CheckpointError, match=r"step 7 can't be written: .*No such file or directory"):
        writing.result()


def test_after_another_failure_a_write_that_fails_as_well_says_so_and_hides_nothing(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    writing = Writing(run, sync_journal=at_once)
    writing.begin(snapshot(7))
    first = writing.end_quietly()
    assert first is not None and first.step == 7
    shutil.rmtree(run.checkpoints)
    writing.begin(snapshot(14))
    assert writing.end_quietly() is None
    assert "the checkpoint that was being written failed too: " in capsys.readouterr().out


def test_a_failure_of_the_loop_is_said_behind_the_checkpoint_that_was_being_written(run: RunDir) -> None:
    attempt, gate = run.new_attempt(), Gate()
    tracking = Tracking(tensorboard=False, wandb=None, mlflow=None, profile=None)
    journal = Journal(run, attempt, tracking=tracking, from_step=-1)
    writing = Writing(run, sync_journal=gate.sync)
    session = Session(run, attempt, StopWatch(attempt))
    # all that a session that failed asks its parts for
    parts = SimpleNamespace(state=TrainingState(step=9), journal=journal, writing=writing)
    session.assembly = SimpleNamespace(parts=parts)  # type: ignore[assignment]
    writing.begin(snapshot(7))
    threading.Timer(0.2, gate.open.set).start()
    session.log_error(NumericsError("step 10: loss nan"))
    said = [(record["event"], record["step"]) for record in run.read_events()]
    assert said == [("checkpoint", 7), ("error", 9)]
    assert list(folders_in(run.checkpoints)) == [7]


def test_a_copy_stays_as_it_was_and_its_memory_is_used_again() -> None:
    copies, weight = Copies(), torch.arange(6.0).reshape(2, 3)
    first = copies.copy("weight a", weight)
    weight.mul_(2)
    assert first.tolist() == [[0, 1, 2], [3, 4, 5]]
    second = copies.copy("weight a", weight.to(torch.bfloat16))
    assert second.data_ptr() == first.data_ptr()
    assert (second.dtype, second.tolist()) == (torch.float32, [[0, 2, 4], [6, 8, 10]])
    assert copies.adopt("weight b", weight) is weight
    assert copies.adopt("weight b", weight.to(torch.bfloat16)).dtype == torch.float32
