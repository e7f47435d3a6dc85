"""The values of a seed system, typed from its documents into the tables of a test, against the job that keeps or
changes them and against our document that says so."""

from collections.abc import Iterable
from pathlib import Path

from runjob.schemas.job import Job
from runjob.schemas.read import read_job

ROOT = Path(__file__).parent.parent.parent
JOBS = ROOT / "jobs"


def job_of(name: str) -> Job:
    """`paleo_dapt`, `tiny/paleo_dapt`."""
    return read_job(JOBS / f"{name}.yaml").job


def value(job: Job, path: str) -> object:
    """The job's value at a dotted path, as a table has it: a quantity in words, a mapping by its keys."""
    found: object = job
    for name in path.split("."):
        found = getattr(found, name)
    if isinstance(found, dict):
        return list(found)
    return str(found) if type(found).__name__ == "Quantity" else found


def values(job: Job, paths: Iterable[str]) -> dict[str, object]:
    return {path: value(job, path) for path in paths}


def stands_in(document: str, path: str) -> bool:
    """Has a value its line in docs/DOCUMENT, by its whole path or in the row of its section?"""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section, _, name = path.rpartition(".")
    return path in text or (section in text and name in text)
