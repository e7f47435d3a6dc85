"""The last step of every fetch, wherever the run lies: what was brought beside takes its name in the run, whole, and
not any more once the job has gone to another place."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from runjob.launchers.base import Handle, Told
from runjob.launchers.checkpoint_files import damaged, is_same
from runjob.launchers.handover import only_held_by
from runjob.launchers.staging_place import Place
from runjob.schemas.errors import LaunchError
from runjob.schemas.run import RunDir, sync_path, write_atomic


def bring_checkpoint(
    run: RunDir,
    handle: Handle,
    name: str,
    place: Place,
    source: str,
    files: Sequence[str],
    *,
    manifest: str | None,
    told: Told,
) -> None:
    """The folder `source/name` of the place. It appears by a rename when all of it is here and is what its manifest
    says; `manifest` is that one's sha256 there, by which it is known whether this very checkpoint is here already."""
    target = run.checkpoints / name
    if is_same(target, manifest):
        return
    told(f"fetching the checkpoint {name}")
    beside = run.checkpoints / f".{name}.fetched" / name
    place.get(f"{source}/{name}", files, beside, told=told)
    for file in damaged(beside, thorough=True):
        (beside / file).unlink(missing_ok=True)
        raise LaunchError(f"{source}/{name}/{file} is not what its manifest says; it is fetched anew next time")
    with only_held_by(run, handle):
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
        sync_path(run.checkpoints)
    beside.parent.rmdir()


def point_to(run: RunDir, handle: Handle, latest: str) -> None:
    """LATEST, if that checkpoint has come."""
    if latest and (run.checkpoints / latest).is_dir():
        with only_held_by(run, handle):
            write_atomic(run.latest, f"{latest}\n")


def take_files(run: RunDir, handle: Handle, names: Sequence[str], beside: Path) -> None:
    """All of them at once, each where it belongs."""
    with only_held_by(run, handle):
        for name in names:
            (run.path / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).replace(run.path / name)
    shutil.rmtree(beside, ignore_errors=True)
