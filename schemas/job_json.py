"""A job as job.json of a run directory holds it: checked values, and where each came from. Apart from read.py, since a
supervisor and a worker read this and no YAML: a tenth of a second of each one's start."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runjob.schemas.job import Job


@dataclass(frozen=True, kw_only=True)
class Base:
    """A file that a job file was laid over, as it was read."""

    path: Path
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A job as plain JSON values, checked (paths absolute), and where each value came from; of one that was read from
    its file, the bases that this extends."""

    values: dict[str, Any]
    origins: dict[str, str]
    bases: tuple[Base, ...] = ()

    @cached_property
    def job(self) -> "Job":
        """The same, typed."""
        from runjob.schemas.build import build_job  # 35 ms for the dataclasses, which `validate` does without

        return build_job(self.values)


def write_job_json(path: Path, resolved: Resolved) -> None:
    from runjob.schemas.records import sealed
    from runjob.schemas.run import write_json  # 15 ms (secrets, hashlib) that `validate` does without

    write_json(path, sealed({"job": resolved.values, "origins": resolved.origins}))


def read_job_json(path: Path) -> Resolved:
    """What write_job_json wrote, here or in an earlier runjob; its values were checked then."""
    from runjob.schemas.earlier import complete, unreadable
    from runjob.schemas.run import read_sealed

    raw = read_sealed(path, way_on=way_on(path))
    try:
        values, origins = complete(raw["job"], raw["origins"], path)
        resolved = Resolved(values=values, origins=origins)
        resolved.job  # noqa: B018 - here, where the file that holds it is known
        return resolved
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, f"not a job.json of this version of runjob: {error!r}") from error


def way_on(path: Path) -> str:
    """Earlier attempts keep the job as it was then."""
    kept = sorted((path.parent / "attempts").glob("*/job.json"), key=lambda file: file.stat().st_mtime)
    if kept:
        return f"{kept[-1]} is the job as an earlier attempt had it: copy that over it; values are changed with --set"
    return "no earlier attempt has left a copy: submit the job anew; values are changed with --set, never there"
