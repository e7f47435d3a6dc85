"""A run and its copy in a folder that this machine and the nodes share: plain file copies, both ways."""

import shutil
from pathlib import Path

from runjob.launchers.base import Handle, Told, handle_before
from runjob.launchers.checkpoint_files import needed_for
from runjob.launchers.coming_home import bring_checkpoint, point_to, take_files
from runjob.launchers.handover import held_by
from runjob.launchers.records import FETCHED, small_records
from runjob.launchers.staging import below_if, copy_path, stage, was_given_up
from runjob.launchers.staging_place import FolderPlace, copy_files
from runjob.schemas.manifest import MANIFEST, sha256_of
from runjob.schemas.run import Attempt, RunDir

# As much of the end of a file tells whether it has only grown.
OVERLAP = 4096


def stage_there(run: RunDir, attempt: Attempt, folder: str, *, told: Told) -> None:
    """Make or refresh the copy for this attempt."""
    place = FolderPlace(root=folder)
    before = handle_before(run, attempt)
    same = before is not None and (before.launcher, before.facts.get("run")) == ("slurm", copy_path(place, run))
    stage(run, attempt, place, goes_on_there=same and not was_given_up(attempt), told=told)


def bring_news(run: RunDir, there: RunDir, handle: Handle) -> None:
    """What has been written since the last look; status.json last, so that an end is told after all that led to it."""
    if there.path == run.path:
        return
    with held_by(run, handle) as ours:
        if not ours:
            return
        # of attempts everything: Slurm begins some of them by itself, and all that is known of those stands there
        attempts = (path for path in there.attempts.glob("*/*") if path.is_file() and not path.name.endswith(".tmp"))
        for source in (*small_records(there), *attempts, there.status):
            bring(source, run.path / source.relative_to(there.path))


def bring(source: Path, target: Path) -> None:
    """Append what has grown, copy what is another; write-then-rename, so that a reader sees the old or the new."""
    if not source.exists():
        return
    target.parent.mkdir(exist_ok=True)
    new, old = source.stat(), target.stat() if target.exists() else None
    if old is not None and (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns):
        return
    if old is not None and 0 < old.st_size < new.st_size and same_end(source, target, old.st_size):
        with source.open("rb") as reader, target.open("ab") as writer:
            reader.seek(old.st_size)
            shutil.copyfileobj(reader, writer)
    else:
        beside = target.with_name(f".{target.name}.coming.tmp")
        shutil.copy2(source, beside)
        beside.replace(target)


def same_end(source: Path, target: Path, size: int) -> bool:
    start = max(0, size - OVERLAP)
    with source.open("rb") as one, target.open("rb") as other:
        one.seek(start)
        other.seek(start)
        return one.read(size - start) == other.read()


def bring_files(run: RunDir, there: RunDir, handle: Handle, *, told: Told) -> None:
    """The newest complete checkpoint, the best one that it names, the model and the curves. LaunchError if the job goes
    on elsewhere meanwhile: what is copied here by then may lie beside, and takes no name of the run's."""
    if there.path == run.path:
        return
    place = FolderPlace(root=str(there.path))
    for name in needed_for(there.checkpoints, "latest"):
        source = there.checkpoints / name
        files = [path.name for path in source.iterdir() if path.is_file()]
        manifest = sha256_of(source / MANIFEST)
        bring_checkpoint(run, handle, name, place, str(there.checkpoints), files, manifest=manifest, told=told)
    point_to(run, handle, there.latest.read_text().strip() if there.latest.exists() else "")
    names = [name for folder in FETCHED for name in below_if(there.path, folder)]
    missing = [name for name in names if not same_size_and_time(there.path / name, run.path / name)]
    beside = run.path / ".fetched"
    copy_files(there.path, missing, beside, told=told)
    take_files(run, handle, missing, beside)


def same_size_and_time(one: Path, other: Path) -> bool:
    facts = [(path.stat().st_size, int(path.stat().st_mtime)) for path in (one, other) if path.is_file()]
    return len(facts) == 2 and facts[0] == facts[1]
