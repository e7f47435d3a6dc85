"""Make a copy of a run elsewhere, in the same layout, so that the same supervisor runs it there under the same plan.

    <folder>/runs/<id>/             the copy: code, job, plan, the checkpoint to start from, attempts/N
    <folder>/inputs/<key>/...       local files that the job names, once for each content
    <folder>/cache/                 RUNJOB_CACHE there: prepared stores

job.json there names the inputs where they lie there; job.home.json is the one of home, for whoever adopts the run from
a third machine. status.json comes last: a copy without it was never finished, and nothing starts in it.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runjob.launchers.base import Told
from runjob.launchers.checkpoint_files import needed_for
from runjob.launchers.staging_inputs import find_inputs, moved
from runjob.launchers.staging_place import Place
from runjob.schemas.errors import LaunchError
from runjob.schemas.manifest import step_of
from runjob.schemas.read import Resolved, read_job_json, write_job_json
from runjob.schemas.run import Attempt, RunDir, read_json

JOB_OF_HOME = "job.home.json"
# What lies in a run directory and its worker reads when it goes on; status.json is written apart, and last
FILES = ("job.yaml", "plan.json", "deepspeed.json", "data.json", "wandb.json", "init.json")
COMMAND_S = 60.0


def copy_path(place: Place, run: RunDir) -> str:
    """Where the copy of a run is, or would be."""
    return f"{place.root}/runs/{run.id}"


def stage(
    run: RunDir,
    attempt: Attempt,
    place: Place,
    *,
    goes_on_there: bool,
    inputs: bool = True,
    told: Told = lambda line: None,
) -> str:
    """Make or refresh the copy for this attempt, and give its path. `goes_on_there`: the attempt before ran in this
    very copy, so its checkpoints and events are the newest there are; otherwise those of home take their place.
    `inputs` false leaves the job's paths as they are: they are paths there."""
    copy = copy_path(place, run)
    make_folders(place, copy, attempt)
    resolved = read_job_json(run.job)
    values = stage_inputs(resolved.values, place, told=told) if inputs else resolved.values
    told("sending the code")
    place.put(run.code, below(run.code), f"{copy}/code", told=told)
    if not goes_on_there:
        stage_progress(run, attempt, place, copy, told=told)
    with tempfile.TemporaryDirectory(prefix="runjob-stage-") as folder:
        beside = Path(folder)
        names = write_small_files(run, attempt, Resolved(values=values, origins=resolved.origins), beside)
        place.put(beside, names, copy, told=told)
        write_pending(run, attempt, beside)
        place.put(beside, ["status.json"], copy, told=told)
    return copy


def was_given_up(attempt: Attempt) -> bool:
    """Did the resume that made this attempt give up the place of the one before, unasked? Then nothing that it has
    beyond home is taken back, also where it is the very place that the job goes to now."""
    order = attempt.path / "resume.json"
    return order.exists() and "given_up" in read_json(order)


def stage_inputs(values: dict[str, Any], place: Place, *, told: Told) -> dict[str, Any]:
    """Send what the job names here, and give its values as they are there."""
    try:
        inputs = find_inputs(values)
    except OSError as error:
        raise LaunchError(f"{error.filename}: can't be read here: {error.strerror}") from error
    for one in inputs:
        told(f"sending {one.names[0]}" + (f" and {len(one.names) - 1} more" if len(one.names) > 1 else ""))
        place.put(one.source, one.names, f"{place.root}/inputs/{one.key}", told=told)
    return moved(values, inputs, f"{place.root}/inputs")


def stage_progress(run: RunDir, attempt: Attempt, place: Place, copy: str, *, told: Told) -> None:
    """What home knows of the run so far: its records, and the checkpoint to start from. A checkpoint there that home
    does not have belongs to a branch that was left."""
    resume = attempt.path / "resume.json"
    names = needed_for(run.checkpoints, read_json(resume)["from"]) if resume.exists() else []
    left = [name for name in list_there(place, f"{copy}/checkpoints") if name not in names]
    remove(place, [f"{copy}/{name}" for name in ("events.jsonl", "progress.json", "checkpoints/LATEST")])
    remove(place, [f"{copy}/checkpoints/{name}" for name in left])
    files = [f"{name}/{file}" for name in names for file in below(run.checkpoints / name)]
    if files:
        told(f"sending the checkpoint {', '.join(names)}")
        place.put(run.checkpoints, files, f"{copy}/checkpoints", told=told)
    others = [name for folder in ("stream", "wandb") for name in below_if(run.path, folder)]
    there = [name for name in ("events.jsonl", "checkpoints/LATEST") if names and (run.path / name).exists()]
    place.put(run.path, [*others, *there], copy, told=told)


def write_small_files(run: RunDir, attempt: Attempt, job: Resolved, beside: Path) -> list[str]:
    """The files of the copy that are not home's byte by byte, and those that are, in one folder to be sent."""
    there = [name for name in FILES if (run.path / name).exists()]
    for name in there:
        shutil.copy2(run.path / name, beside / name)
    shutil.copy2(run.job, beside / JOB_OF_HOME)
    write_job_json(beside / "job.json", job)
    resume = attempt.path / "resume.json"
    if resume.exists():
        there.append(f"attempts/{attempt.number}/resume.json")
        (beside / there[-1]).parent.mkdir(parents=True)
        shutil.copy2(resume, beside / there[-1])
    return [*there, JOB_OF_HOME, "job.json"]


def write_pending(run: RunDir, attempt: Attempt, beside: Path) -> None:
    """In words that the run's own code reads, which will stand beside it."""
    RunDir(beside).write_status("pending", attempt=attempt.number, code=run.code)


def make_folders(place: Place, copy: str, attempt: Attempt) -> None:
    """Private, and without what an earlier copy of this very attempt left, which never started."""
    parts = [f"{copy}/{name}" for name in ("attempts", "checkpoints", "code")]
    newest = f"{copy}/attempts/{attempt.number}"
    script = 'umask 077 && rm -rf -- "$1" && mkdir -p -- "$@"'
    roots = [f"{place.root}/{name}" for name in ("inputs", "cache", "envs")]
    command(place, ["sh", "-c", script, "sh", newest, *parts, *roots], f"{copy} can't be made there")


def list_there(place: Place, folder: str) -> list[str]:
    answer = place.run(["ls", "-1", "--", folder], timeout_s=COMMAND_S)
    return [line for line in answer.out.decode("utf-8", "surrogateescape").splitlines() if step_of(line) is not None]


def remove(place: Place, paths: Sequence[str]) -> None:
    if paths:
        command(place, ["rm", "-rf", "--", *paths], "what an earlier copy left can't be removed")


def command(place: Place, argv: Sequence[str], said: str) -> None:
    answer = place.run(argv, timeout_s=COMMAND_S)
    if answer.code != 0:
        raise LaunchError(f"{said}: {answer.err or f'code {answer.code}'}")


def below(folder: Path) -> list[str]:
    """Every file below a folder, by its name from there; a link is none, and whoever planted it gets nothing sent."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in files)


def below_if(folder: Path, name: str) -> list[str]:
    return [f"{name}/{file}" for file in below(folder / name)] if (folder / name).is_dir() else []
