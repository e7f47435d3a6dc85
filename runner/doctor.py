"""Is this machine fit to train, and what to type where it is not: every finding of `runjob doctor`, in the order in
which one would look. torch is asked in a process of its own, which works while the rest is looked at."""

import dataclasses
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runjob.runner.needs import TWIN
from runjob.schemas.errors import RunjobError

if TYPE_CHECKING:
    from runjob.schemas.read import Resolved

Verdict = Literal["ok", "warn", "fail"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: `said` is what was found, `remedy` what to type, empty where all is well. `fail` is what
    should work here and does not, `warn` what some jobs will miss."""

    name: str
    verdict: Verdict
    said: str
    remedy: str = ""


def ok(name: str, said: str) -> Finding:
    return Finding(name=name, verdict="ok", said=said)


def warn(name: str, said: str, remedy: str) -> Finding:
    return Finding(name=name, verdict="warn", said=said, remedy=remedy)


def fail(name: str, said: str, remedy: str) -> Finding:
    return Finding(name=name, verdict="fail", said=said, remedy=remedy)


def examine(home: Path, job: Path | None) -> list[Finding]:
    """Everything, whatever is found on the way."""
    from runjob.runner import doctor_machine, doctor_places
    from runjob.runner.doctor_torch import Child, judge_torch
    from runjob.schemas.read import read_job

    resolved = None if job is None else read_job(job)
    child = Child.start()
    before = [doctor_machine.look_at_python(), doctor_machine.look_at_packages()]
    after = [
        doctor_machine.look_at_compiler(),
        doctor_machine.look_at_memory(),
        doctor_machine.look_at_threads(),
        doctor_machine.look_at_home(home),
        doctor_machine.look_at_disk(home),
        doctor_machine.look_at_clock(home),
        doctor_places.look_at_hub(),
        doctor_places.look_at_ssh(),
        doctor_places.look_at_slurm(),
    ]
    asked = judge_torch(child.answer())
    return [*before, *asked, *after, *([] if resolved is None else look_at_job(resolved))]


def look_at_job(resolved: "Resolved") -> list[Finding]:
    """What this job would be refused for here, a line each."""
    from runjob.runner.place import imagine, missing_here

    name = resolved.job.name
    try:
        missing = missing_here(resolved, imagine(resolved.job, "local"))
    except RunjobError as error:
        missing = tuple(str(error).splitlines())
    except subprocess.TimeoutExpired as error:  # a driver that hangs, of which `gpu` says more
        missing = (f"{name} was not looked at: {error}",)
    if not missing:
        return [ok("job", f"{name} has all that it needs here")]
    twins = [line for line in missing if line.startswith(TWIN)]
    remedy = twins[0] if twins else f"change what is named in {name}, or run it where that is"
    return [fail("job", line, remedy) for line in missing if line not in twins]
