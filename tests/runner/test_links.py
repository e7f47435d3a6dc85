"""A run may come from a stranger: links in it that lead out are neither written through nor sent away."""

import os
from pathlib import Path

import pytest

from runjob.launchers.base import Handle
from runjob.launchers.handover import held_by
from runjob.launchers.staging import below
from runjob.runner.lock import fetching, locked
from runjob.schemas.errors import NotFoundError, RunjobError
from runjob.schemas.links import links_out
from runjob.schemas.run import RunDir, find_run
from tests.conftest import contents

LOCAL = ("--launcher", "small")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "profile").write_text("export PATH\n")
    return folder


def test_no_command_writes_through_a_link_that_leads_out(small, job, only_run, outside: Path):
    assert small("pause", job, *LOCAL, "--set", "output.remote=file:///nowhere").returncode == 75
    run, before = only_run(), contents(outside)
    for planted, command in (("checkpoints", "resume"), ("status.json", "cancel"), ("model", "upload")):
        kept = run / f"{planted}.kept"
        if (run / planted).exists():
            (run / planted).rename(kept)
        (run / planted).symlink_to(outside / "checkpoints" if "." not in planted else outside / "profile")
        done = small("pause", command, "latest")
        assert done.returncode == 1, done.stdout
        assert f"{run / planted}: is a link that leads out of the run, to {outside}" in done.stderr
        assert "Traceback" not in done.stderr
        (run / planted).unlink()
        if kept.exists():
            kept.rename(run / planted)
    assert contents(outside) == before
    assert small("exact", "resume", "latest", *LOCAL).returncode == 0


@pytest.mark.parametrize(
    "name", ["checkpoints/step-00000001", "attempts/1", ".lock", "code/x.py", "wandb", "wandb/run"]
)
def test_a_link_is_found_wherever_it_lies_before_anything_is_opened(tmp_path: Path, outside: Path, name: str):
    run = RunDir.create(tmp_path / "runs", "linked")
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).symlink_to(outside / "checkpoints")
    handle = Handle(launcher="local", attempt=1, facts={})
    for hold in (lambda: locked(run, patience_s=0.0), lambda: fetching(run), lambda: held_by(run, handle)):
        with pytest.raises(RunjobError, match="leads out of the run"), hold():
            raise AssertionError("held")
    assert {path.name for path in run.path.iterdir()} <= {"attempts", "checkpoints", name.split("/")[0]}


def test_a_link_to_what_is_not_there_yet_leads_out_too(tmp_path: Path):
    run = RunDir.create(tmp_path / "runs", "linked")
    run.events.symlink_to(tmp_path / "new")
    assert list(links_out(run)) == [run.events]


def test_links_that_stay_inside_and_those_of_weights_and_biases_are_nothing_to_fear(tmp_path: Path, outside: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    run = RunDir.create(tmp_path / "runs", "linked")
    (run.path / "wandb" / "offline-run").mkdir(parents=True)
    (run.path / "wandb" / "latest-run").symlink_to("offline-run")
    (run.path / "wandb" / "offline-run" / "debug-core.log").symlink_to(outside / "profile")
    (run.path / "wandb" / "gone.log").symlink_to(outside / "gone")
    (run.path / "newest").symlink_to(os.path.relpath(run.checkpoints, run.path))
    with locked(run, patience_s=0.0):
        assert list(links_out(run)) == []
    assert below(run.wandb) == []


def test_a_home_that_is_made_is_private_and_one_that_is_there_stays_as_it_is(tmp_path: Path):
    (tmp_path / "shared").mkdir(mode=0o755)
    homes = tmp_path / "deep" / "runs", tmp_path / "shared"
    for home in homes:
        RunDir.create(home, "some")
    assert [home.stat().st_mode & 0o777 for home in homes] == [0o700, 0o755]


def test_an_id_names_no_folder_elsewhere(tmp_path: Path):
    elsewhere = RunDir.create(tmp_path / "elsewhere", "some")
    RunDir.create(tmp_path / "runs", "some")
    for wanted in (
        *(f"../elsewhere/{elsewhere.id}", str(elsewhere.path), "..", ".", "/", "some/../..", "../latest", "~"),
        *("../elsewhere/some@latest", f"{elsewhere.id}/../..", "some-*", "\0", "latest/../../elsewhere", "*@latest"),
    ):
        with pytest.raises(NotFoundError):
            find_run(tmp_path / "runs", wanted)
