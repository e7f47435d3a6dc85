"""Bring home what the mirror does not: checkpoints, the model, the curves. A file is compared with the digest that was
made where it was written; a checkpoint appears by a rename when all of it is here, and what broke off goes on."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from runjob.launchers.base import Handle, Told
from runjob.launchers.coming_home import bring_checkpoint, point_to, take_files
from runjob.launchers.records import FETCHED
from runjob.launchers.ssh_link import Link
from runjob.launchers.ssh_mirror import alone
from runjob.schemas.errors import LaunchError
from runjob.schemas.manifest import best_of, folder_name, sha256_of, step_of
from runjob.schemas.run import RunDir

HOLDS_S = 600.0
Policy = Literal["newest", "all", "none"]
# The job may remove a checkpoint while it is on its way; the next list names a newer one.
TRIES = 3


def fetch_run(run: RunDir, handle: Handle, link: Link, *, policy: Policy, told: Told) -> None:
    for number in range(TRIES):
        holds, _ = link.ask(["holds"], timeout_s=HOLDS_S)
        refuse_strange_names(link.target.host, holds)
        try:
            with alone(run, "fetch") as first:
                if not first:
                    raise LaunchError(f"{run.id} is being fetched by somebody else")
                fetch_checkpoints(run, handle, link, holds, policy=policy, told=told)
                fetch_files(run, handle, link, holds["files"], told=told)
            return
        except OSError as error:
            raise LaunchError(f"{run.path}: what was fetched can't be written here: {error.strerror}") from error
        except LaunchError:
            if number == TRIES - 1:
                raise


def refuse_strange_names(host: str, holds: Mapping[str, Any]) -> None:
    """LaunchError for a name that leads out of the run, or over what only home writes: a host is trusted with the job,
    and not with the files of whoever looks at it."""
    for name in holds["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name.split("/")[0] not in FETCHED:
            raise LaunchError(f"{host}: it offers a file that is none of the run's: {name!r}")
    latest = [holds["latest"]] if holds["latest"] else []
    for name in (*holds["checkpoints"], *latest):
        if step_of(name) is None:
            raise LaunchError(f"{host}: it offers a checkpoint that is none: {name!r}")
    for name in (file for files in holds["checkpoints"].values() for file in files):
        if "/" in name or name in (".", ".."):
            raise LaunchError(f"{host}: it offers a file that is none of a checkpoint's: {name!r}")


def fetch_checkpoints(
    run: RunDir, handle: Handle, link: Link, holds: Mapping[str, Any], *, policy: Policy, told: Told
) -> None:
    there, place = holds["checkpoints"], link.place()
    # a copy whose code is older tells no digests of manifests
    manifests = holds["manifests"] if "manifests" in holds else dict.fromkeys(there)

    def bring(name: str) -> None:
        source = f"{link.path}/checkpoints"
        bring_checkpoint(run, handle, name, place, source, there[name], manifest=manifests[name], told=told)

    for name in wanted(run, sorted(there), policy):
        bring(name)
        best = best_of(run.checkpoints / name)
        if best is not None and folder_name(best) in there:
            bring(folder_name(best))
    point_to(run, handle, holds["latest"])


def wanted(run: RunDir, names: Sequence[str], policy: Policy) -> list[str]:
    """By the job's policy; whoever says `none` still needs the newest one to go on with an unfinished job elsewhere."""
    if policy == "all":
        return list(names)
    finished = run.read_status().state == "finished"
    return [] if policy == "none" and finished else list(names[-1:])


def fetch_files(run: RunDir, handle: Handle, link: Link, files: Mapping[str, Sequence[Any]], *, told: Told) -> None:
    """The model and the curves: into a hidden folder first, each file where it belongs when its digest is right."""
    missing = [name for name, (size, digest) in files.items() if not is_here(run.path / name, size, digest)]
    if not missing:
        return
    told(f"fetching {len(missing)} files of {', '.join(sorted({name.split('/')[0] for name in missing}))}")
    beside = run.path / ".fetched"
    link.place().get(link.path, missing, beside, told=told)
    growing = [name for name in missing if sha256_of(beside / name) != files[name][1]]
    for name in (one for one in growing if one.startswith("model/")):
        (beside / name).unlink()
        raise LaunchError(f"{link.target.host}: {name} is not what it was there; it is fetched anew next time")
    take_files(run, handle, missing, beside)


def is_here(path: Path, size: int, digest: str) -> bool:
    return path.is_file() and path.stat().st_size == size and sha256_of(path) == digest
