"""A run in a folder that the nodes share, and what of it comes home; without Slurm, which has no part in that."""

from pathlib import Path

import pytest

from runjob.launchers.base import Handle
from runjob.launchers.handover import hand_over
from runjob.launchers.slurm import SlurmLauncher
from runjob.schemas.errors import LaunchError
from runjob.schemas.run import RunDir
from tests.cluster.remote_runs import make_run, save
from tests.conftest import contents


@pytest.fixture
def far(tmp_path: Path) -> RunDir:
    """The copy there, with a checkpoint."""
    far = make_run(tmp_path / "shared" / "runs", "file:///nowhere")
    save(far, 7)
    return far


@pytest.fixture
def run(home, far: RunDir) -> RunDir:
    """The run at home, as it was when the job was last seen: saved and stopped there."""
    run = make_run(home.runs, "file:///nowhere", id=far.id)
    Handle(launcher="slurm", attempt=1, facts={"job": "7", "run": str(far.path)}).write(run)
    run.write_status("preempted", attempt=1, message="stop_after")
    return run


def test_a_preempted_job_that_is_cancelled_comes_home(run, far, runjob):
    done = runjob("cancel", run.id)
    assert (done.returncode, done.stdout) == (0, f"{run.id} was preempted and is now cancelled\n")
    assert contents(run.checkpoints) == contents(far.checkpoints)


def spoil(file: Path) -> None:
    """As a disk does: other bytes of the same number."""
    file.write_bytes(bytes(reversed(file.read_bytes())))


def test_a_checkpoint_that_is_damaged_here_is_brought_again(run, far):
    SlurmLauncher().fetch(run, told=print)
    spoil(run.checkpoints / "step-00000007" / "weights-00002.safetensors")
    SlurmLauncher().fetch(run, told=print)
    assert contents(run.checkpoints) == contents(far.checkpoints)


def test_a_checkpoint_of_the_same_step_that_is_another_is_brought(run, far):
    save(run, 7, content="of a branch that was left")
    SlurmLauncher().fetch(run, told=print)
    assert contents(run.checkpoints) == contents(far.checkpoints)


def test_what_comes_after_the_job_has_gone_elsewhere_is_left_out(run, far):
    (far.path / "model").mkdir()
    (far.path / "model" / "model.safetensors").write_text("of a branch that is left")

    def told(line: str) -> None:  # while it copies
        hand_over(run, Handle(launcher="local", attempt=2, facts={}))

    with pytest.raises(LaunchError, match="has gone to another place meanwhile"):
        SlurmLauncher().fetch(run, told=told)
    assert not (run.checkpoints / "step-00000007").exists()
    assert not (run.checkpoints / "LATEST").exists()
    assert not run.model.exists()


def test_what_it_writes_there_is_brought_with_its_logs(run, far):
    names = ("stream/00ff.jsonl", "statistics.json", "events.jsonl", "attempts/1/resume.json", "attempts/1/rank-0.log")
    for name in names:
        (far.path / name).parent.mkdir(parents=True, exist_ok=True)
        (far.path / name).write_text(name)
    (far.path / "job.json").write_text("{}")
    SlurmLauncher().logs(run, run.attempt(1))
    assert [(run.path / name).read_text() for name in names] == list(names)
    assert run.job.read_text() != "{}"


def test_the_model_comes_home_and_is_not_brought_twice(run, far):
    for folder in (far.model, far.wandb):
        folder.mkdir()
    (far.wandb / "offline-run").write_text("curves")
    (far.model / "model.safetensors").write_text("weights")
    SlurmLauncher().fetch(run, told=print)
    brought = (run.model / "model.safetensors").stat()
    SlurmLauncher().fetch(run, told=print)
    assert contents(run.model) == contents(far.model)
    assert contents(run.wandb) == contents(far.wandb)
    assert (run.model / "model.safetensors").stat().st_ino == brought.st_ino
    assert not (run.path / ".fetched").exists()
