"""Where a job is to run, and what is there: this machine, or whatever the launcher finds when it asks its own place.

A launcher that can't survey runs the job here, so what the job needs is looked for here. One that can says itself what
its place lacks; from here it needs its block of the job, and the files that it is to take along.
"""

from dataclasses import dataclass

from runjob.launchers import find_launcher
from runjob.launchers.base import Foreseer, Previewer, Surveyor, Timekeeper
from runjob.runner.compile import compile_job
from runjob.runner.local_files import missing_files
from runjob.runner.needs import missing_needs
from runjob.schemas import wording
from runjob.schemas.end_to_end import rows_are_padded
from runjob.schemas.errors import MissingError
from runjob.schemas.facts import Facts, recall_facts
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine, detect_machine
from runjob.schemas.plan import Plan
from runjob.schemas.problems import Problem
from runjob.schemas.read import JobFileError, Resolved, mark_of
from runjob.schemas.site import BLOCKS, block_schema, site_path


@dataclass(frozen=True, kw_only=True)
class Place:
    """A launcher's place, and one machine of it; `here` where that is this machine."""

    launcher: str
    machine: Machine
    here: bool


def runs_here(launcher: str) -> bool:
    return not isinstance(find_launcher(launcher), Surveyor)


def survey(resolved: Resolved, launcher: str) -> Place:
    """MissingError or, where only the job's own words are at fault, JobFileError with everything that it lacks here or
    there, before anything is written."""
    chosen = find_launcher(launcher)
    if not isinstance(chosen, Surveyor):
        from runjob.runner.loopback import missing_loopback

        machine = detect_machine()
        missing = (*missing_needs(resolved.job, machine, ask_hub=True), *missing_loopback())
        refuse(missing, missing_files(resolved))
        return Place(launcher=launcher, machine=machine, here=True)
    if no_block := missing_block(resolved, launcher):
        raise JobFileError(no_block)
    absent = files_to_take(resolved, launcher)
    try:
        machine = chosen.survey(resolved.job)
    except MissingError as error:
        raise MissingError("\n".join([str(error), *map(str, absent)])) from error
    refuse((), absent)
    return Place(launcher=launcher, machine=machine, here=False)


def imagine(job: Job, launcher: str) -> Place:
    """For `plan`, which asks nobody: what the launcher knows of its place by itself, else as if it had this machine's
    cores and GPUs."""
    machine = foresee(job, launcher) or detect_machine()
    return Place(launcher=launcher, machine=machine, here=runs_here(launcher))


def foresee(job: Job, launcher: str) -> Machine | None:
    chosen = find_launcher(launcher)
    return chosen.foresee(job) if isinstance(chosen, Foreseer) else None


def guesses(job: Job, launcher: str) -> tuple[str, ...]:
    """What `plan` shows as it is on this machine, though the job goes to another one."""
    if runs_here(launcher) or job.hardware.threads is not None or foresee(job, launcher) is not None:
        return ()
    return (f"threads a rank: shown for the cores of this machine; {launcher} is asked for its own at submission",)


def missing_here(resolved: Resolved, place: Place) -> tuple[str, ...]:
    """What `plan` can see without a network that the job would be refused for."""
    if place.here:
        return (*missing_needs(resolved.job, place.machine, ask_hub=False), *map(str, missing_files(resolved)))
    return tuple(map(str, (*missing_block(resolved, place.launcher), *files_to_take(resolved, place.launcher))))


def refuse(missing: tuple[str, ...], absent: tuple[Problem, ...]) -> None:
    if missing:
        raise MissingError("\n".join([*missing, *map(str, absent)]))
    if absent:
        raise JobFileError(absent)


def plan_on(resolved: Resolved, place: Place, *, facts: Facts | None = None) -> Plan:
    return compile_job(resolved.job, place.machine, facts=facts)


def foretell(resolved: Resolved, place: Place, *, done: int = 0) -> tuple[str, ...]:
    """What is to be heard before a job, of which `done` steps are made, goes to a place that ends by itself, by what
    preparing its data here has taught. MissingError where it can't come to its end there."""
    launcher = find_launcher(place.launcher)
    if not isinstance(launcher, Timekeeper):
        return ()
    plan = plan_on(resolved, place, facts=recall_facts(resolved.job, padded=rows_are_padded(resolved.job)))
    return launcher.in_time(resolved.job, plan, place.machine, done=done)


def preview(resolved: Resolved, plan: Plan, place: Place) -> str | None:
    """What the launcher would ask its place for, as text; None where it shows none, or is not told where to go."""
    launcher = find_launcher(place.launcher)
    if not isinstance(launcher, Previewer) or missing_block(resolved, place.launcher):
        return None
    return launcher.preview(resolved.job, plan)


def missing_block(resolved: Resolved, launcher: str) -> tuple[Problem, ...]:
    """One of ours is told where to go by its block of the job; a third party's launcher has ways of its own."""
    if launcher not in BLOCKS or getattr(resolved.job.hardware, launcher) is not None:
        return ()
    example = wording.flow(block_schema(launcher)["examples"][0])
    said = f"missing, and --launcher {launcher} goes by it; write `{launcher}: {example}` here or in {site_path()}"
    return (Problem.at(mark_of(resolved.origins["hardware.device"]), f"hardware.{launcher}", said),)


def files_to_take(resolved: Resolved, launcher: str) -> tuple[Problem, ...]:
    """The job's files that are not here, unless they are said to be there already."""
    ssh = resolved.job.hardware.ssh
    if launcher == "ssh" and ssh is not None and ssh.data == "remote":
        return ()
    return missing_files(resolved)
