"""From which run a run's first weights are, back to the first, and which runs have started from it: read from their
job.json, which names the run and the sha256 of its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.runner.asking import states_of
from runjob.schemas.errors import RunjobError
from runjob.schemas.job_json import read_job_json
from runjob.schemas.run import RunDir, created_at, run_ids
from runjob.schemas.weights import weights_sha256

# What a job.json holds that starts from a run, however it is written: asked of thousands before one is read
MARK = b'"run"'


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where first weights are from: a run's id with the sha256 of its weights, or in words what else they are."""

    run: str | None
    sha256: str | None
    words: str


@dataclass(frozen=True, kw_only=True)
class Kin:
    """A run and those that started from it. `state`: None of one that is not here any more; `teacher`: the run, or the
    directory, whose vectors it learns."""

    id: str
    state: str | None
    objective: str | None
    origin: Origin
    teacher: str | None = None
    children: tuple["Kin", ...] = ()


def lineage(run: RunDir) -> Kin:
    """The tree from the first run that is known down to all that came of it; `run` is somewhere in it."""
    home = run.path.parent
    parents = {one: found for one in run_ids(home) if (found := parent_of(RunDir(home / one))) is not None}
    first, met = run.id, {run.id}
    while first in parents and parents[first] not in met:
        first = parents[first]
        met.add(first)
    children: dict[str, list[str]] = {}
    for one, parent in parents.items():
        children.setdefault(parent, []).append(one)
    return grow(home, first, children, above=())


def parent_of(run: RunDir) -> str | None:
    """The id of the run that it started from; None where there is none, or job.json can't be read."""
    try:
        if MARK not in run.job.read_bytes():
            return None
        return origin_of(read_job_json(run.job).values).run
    except (OSError, RunjobError):
        return None


def grow(home: Path, name: str, children: Mapping[str, Sequence[str]], *, above: tuple[str, ...]) -> Kin:
    run = RunDir(home / name)
    below = sorted(children.get(name, ()), key=lambda one: created_at(home / one))
    kin = tuple(grow(home, one, children, above=(*above, name)) for one in below if one not in above)
    if not run.path.is_dir():
        gone = Origin(run=None, sha256=None, words="not here any more")
        return Kin(id=name, state=None, objective=None, origin=gone, children=kin)
    values = read_job_json(run.job).values
    (status,) = states_of([run])
    return Kin(
        id=name,
        state=status.state,
        objective=values["objective"]["kind"],
        origin=origin_of(values),
        teacher=teacher_of(values),
        children=kin,
    )


def teacher_of(values: Mapping[str, Any]) -> str | None:
    """By its id, where it is the model of a run; None where nobody teaches."""
    objective = values["objective"]
    if objective["kind"] != "sentence_embedding" or objective["teacher"] is None:
        return None
    model = Path(objective["teacher"])
    run = RunDir(model.parent)
    return run.id if model == run.model and run.job.is_file() else str(objective["teacher"])


def origin_of(values: Mapping[str, Any]) -> Origin:
    init = values["model"]["init"]
    match init["kind"]:
        case "run":
            return Origin(run=init["id"], sha256=init["revision"], words="")
        case "pretrained":
            return Origin(run=None, sha256=None, words=f"weights of {init['path']}")
        case "scratch":
            return Origin(run=None, sha256=None, words=f"{init['architecture']} from scratch")
    return Origin(run=None, sha256=None, words=f"{init['kind']} of {init['teacher']}")


def changed_since(kin: Kin, home: Path) -> bool | None:
    """Does the model of the run that it started from hold other weights by now? None where that can't be asked."""
    if kin.origin.run is None:
        return None
    try:
        return weights_sha256(RunDir(home / kin.origin.run).model) != kin.origin.sha256
    except RunjobError:
        return None
