"""runjob from Python: the commands as functions, which return values instead of printing.

    from runjob.runner import api

    problems = api.validate("jobs/x.yaml")
    job = api.submit("jobs/x.yaml", sets={"training.length": "200 steps"})
    for record in api.events(job, follow=True):
        ...
    end = api.wait(job, timeout_s=3600)

Nothing here runs in the caller's process but the asking: a job is a process of its own, on this machine or another, and
goes on when the caller ends. No torch is imported. Jobs lie where `runjob` looks for them, in $RUNJOB_HOME or ./runs;
an id may be an unambiguous prefix, `latest` or `NAME@latest`. What a user can cause is raised as one of
runjob.schemas.errors, whose text says where, what, why and what to do instead. `told`, where a function takes it,
hears in sentences what the command would say on its way (copying, renting, fetching).
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runjob.launchers import find_launcher
from runjob.runner import begin_group as _group
from runjob.runner import cancel as _cancel
from runjob.runner import resume as _resume
from runjob.runner.asking import state_soon, states_of
from runjob.runner.begin import create, start
from runjob.runner.bring_home import bring_home
from runjob.runner.follow import has_ended
from runjob.runner.group import begin_cells, takes_together
from runjob.runner.outlook import Outlook, look_ahead
from runjob.runner.requeue import begin_next, goes_on
from runjob.runner.run_tail import RunTail
from runjob.runner.runs import Summary, bring_logs, newest_attempt, state_of, summarise
from runjob.runner.tail import EventTail
from runjob.runner.turn import at_work
from runjob.runner.why.answer import answer, as_text
from runjob.schemas.errors import JobError, NotFoundError, StillRunningError
from runjob.schemas.group import GroupDir, find_jobs
from runjob.schemas.problems import JobFileError, Problem
from runjob.schemas.read import Cell, Resolved, read_cells
from runjob.schemas.run import RunDir, Status, find_run, home

__all__ = [
    "Outlook",
    "Problem",
    "Summary",
    "cancel",
    "cells",
    "directory",
    "events",
    "logs",
    "plan",
    "resume",
    "status",
    "submit",
    "validate",
    "wait",
    "wait_cells",
    "why",
]

POLL_S = 0.25
NONE: Mapping[str, object] = {}


def _nobody(text: str) -> None:
    """Nobody wants to hear."""


def validate(file: str | Path, *, sets: Mapping[str, object] = NONE) -> tuple[Problem, ...]:
    """Every problem of a job file, each with `file`, `line` and `column` (from 1), `path` and `message`; none where it
    is valid. `sets` puts values in the place of the file's, by their dotted path: {"training.learning_rate": 3e-4}."""
    try:
        read_cells(Path(file), _words(sets))
    except JobFileError as error:
        return tuple(error.problems)
    return ()


def plan(
    file: str | Path, *, sets: Mapping[str, object] = NONE, launcher: str = "local", cell: int | None = None
) -> Outlook:
    """What would run, asking no network: `.plan` (batch arithmetic in sequences, steps, tokens a step, parameters,
    argv, the DeepSpeed configuration; None is unknown, `.plan.unknown` says what makes it known), `.missing` (what it
    would be refused for), `.rows`, `.preview`, `.time` (how long it would train, in seconds, and who has measured
    that). JobFileError for a file with problems. Of one whose `matrix` holds several jobs `cell` says which is meant,
    from 1."""
    find_launcher(launcher)
    return look_ahead(_one_job(read_cells(Path(file), _words(sets)), file, cell), launcher=launcher)


def submit(
    file: str | Path,
    *,
    sets: Mapping[str, object] = NONE,
    launcher: str = "local",
    at_once: int | None = None,
    told: Callable[[str], None] = _nobody,
) -> str:
    """Start a job; its id. Returns when the launcher has it, as `runjob FILE --detach` does: at once on this machine,
    after copying or renting elsewhere. JobFileError for a file with problems and MissingError for what isn't there,
    before there is a run; LaunchError where its place did not take it, and the run is `failed` then.

    Of a file with a `matrix` all cells are begun, `at_once` at a time (one, if it is left out), and the id is that of
    their group, which `cells`, `wait_cells`, `resume` and `cancel` take."""
    find_launcher(launcher)
    found = read_cells(Path(file), _words(sets))
    if found[0].number:
        group = _group.create(found, source=Path(file), launcher=launcher, at_once=at_once, told=told)
        begin_cells(group, again=False, told=told)
        return group.id
    if at_once is not None:
        raise JobError(f"{file}: at_once={at_once}: it is one job, and no matrix of several")
    created = create(found[0].resolved, source=Path(file), launcher=launcher, told=told)
    start(created)
    return created.run.id


def status(job: str) -> Summary:
    """The job now: state, attempt, step of steps, loss (nats, of the newest step), `created` and `updated` (seconds
    since 1970), message; what isn't known yet is None. Its launcher is asked for at most 5 s, then the state is
    `unreachable`. NotFoundError where there is no such job, or more than one."""
    run = find_run(home(), job)
    return summarise(run, state_soon(run))


def wait(job: str, *, timeout_s: float | None = None, told: Callable[[str], None] = _nobody) -> Summary:
    """The status in which the job ended: finished, failed, cancelled, preempted or lost, none of which is an error
    here. StillRunningError (a TimeoutError too) when `timeout_s` seconds have passed; the job goes on. What it made
    elsewhere is brought home at its end, and a job whose place was taken away goes on, if its launcher can do that
    by itself, as when `runjob FILE` follows it. LaunchError where its model could not be brought home."""
    run = find_run(home(), job)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for seen in _looks(run, told=told):
        if not has_ended(seen) and deadline is not None and time.monotonic() >= deadline:
            raise StillRunningError(f"{run.id} is {seen.state} after {timeout_s:g} s; it goes on, so wait again")
    return summarise(run, seen)


def cells(group: str) -> tuple[Summary, ...]:
    """The status of each job of a group, in the order of its matrix; of a job its own alone."""
    meant = find_jobs(home(), group)
    runs = meant.runs() if isinstance(meant, GroupDir) else [meant]
    return tuple(map(summarise, runs, states_of(runs)))


def wait_cells(
    group: str, *, timeout_s: float | None = None, told: Callable[[str], None] = _nobody
) -> tuple[Summary, ...]:
    """As `cells`, when the last of them has ended, and what each made is at home. StillRunningError when `timeout_s`
    seconds have passed; they go on."""
    meant = find_jobs(home(), group)
    if not isinstance(meant, GroupDir):
        return (wait(meant.id, timeout_s=timeout_s, told=told),)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not all(map(has_ended, found := states_of(meant.runs()))) or at_work(meant):
        if deadline is not None and time.monotonic() >= deadline:
            done = sum(map(has_ended, found))
            raise StillRunningError(f"{meant.id}: {done} of {len(found)} have ended after {timeout_s:g} s; wait again")
        time.sleep(POLL_S)
    if takes_together(meant.read().launcher):  # else the queue has brought it
        for run in meant.runs():
            bring_home(run, told=told)
    return cells(meant.id)


def resume(
    job: str,
    *,
    sets: Mapping[str, object] = NONE,
    launcher: str | None = None,
    start_from: str | int = "latest",
    accept: bool = False,
    at_once: int | None = None,
    told: Callable[[str], None] = _nobody,
) -> tuple[str, ...]:
    """Go on from the newest complete checkpoint, the `best`, or that of a step; where it ran before unless `launcher`
    names another place. What is promised of the numbers to come, and why, in lines. StateError where the job's state
    or one of the `sets` forbids it; `accept=True` means the change that was questioned.

    Of a group every cell that is not done is taken up, `at_once` at a time, and the lines say what each was."""
    meant = find_jobs(home(), job)
    if isinstance(meant, GroupDir):
        if sets or launcher is not None or start_from != "latest":
            raise JobError(f"{meant.id} is a group; sets, launcher and start_from can be said of one of its jobs")
        _group.check_free(meant, accept=accept)
        left = _group.what_is_left(meant)
        _group.take_up(meant, at_once=at_once, told=told)
        return tuple(left)
    if at_once is not None:
        raise JobError(f"{meant.id}: at_once={at_once}: it is one job, and no matrix of several")
    run = meant
    wish = _resume.Wish(sets=_words(sets), start_from=str(start_from), accept=accept, launcher=launcher)
    return tuple(_resume.resume(run, wish, told=told))


def cancel(job: str) -> str:
    """Ask the job to save and stop, and say in a sentence what was done; `wait` for its end. Of a job that has ended
    there is nothing to cancel, which is no error. Of a group a line for each cell that has not ended."""
    meant = find_jobs(home(), job)
    return "\n".join(_cancel.cancel_cells(meant)) if isinstance(meant, GroupDir) else _cancel.cancel(meant)


def why(job: str) -> str:
    """What `runjob why` says, for people: the class of a failure, its evidence, and what to change or type next."""
    run = find_run(home(), job)
    return as_text(answer(run, state_soon(run)))


def events(job: str, *, follow: bool = False) -> Iterator[dict[str, Any]]:
    """The records of events.jsonl, oldest first (docs/run-directory.md lists their fields and units); with `follow`,
    until the job ends, as they are written.

    A resume takes back the records beyond its checkpoint and writes those steps again. Without `follow` they are gone;
    with it they have been given already, so of two records with the same `event` and `step` the one with the higher
    `attempt` counts. None is given twice.
    """
    run = find_run(home(), job)
    return _follow_events(run) if follow else run.read_events()


def logs(job: str, *, rank: int | None = None, follow: bool = False) -> Iterator[str]:
    """What the newest attempt wrote, line by line, as `runjob logs` shows it; or the output of one rank. NotFoundError
    where that rank has no log."""
    run = find_run(home(), job)
    lines = RunTail(run, since=newest_attempt(run).number)
    return _follow_logs(lines, rank) if follow else _logs_now(lines, rank)


def directory(job: str) -> Path:
    """The run directory: events.jsonl, checkpoints/, model/ (docs/run-directory.md)."""
    return find_run(home(), job).path


def _one_job(found: Sequence[Cell], file: str | Path, cell: int | None) -> Resolved:
    if cell is None and not found[0].number:
        return found[0].resolved
    meant = [one.resolved for one in found if one.number == cell and one.number]
    if not meant:
        there = f"its matrix holds {len(found)} jobs, 1 to {len(found)}" if found[0].number else "it has no matrix"
        raise JobError(f"{file}: {there}; cell={cell} names none of them")
    return meant[0]


def _words(sets: Mapping[str, object]) -> tuple[str, ...]:
    """As `--set` takes them; JSON is YAML. A value that is no JSON is a mistake of the program: TypeError."""
    return tuple(f"{path}={json.dumps(value, ensure_ascii=False, default=os.fspath)}" for path, value in sets.items())


def _looks(run: RunDir, *, told: Callable[[str], None] = _nobody) -> Iterator[Status]:
    """The state, again and again, with its news brought home, up to the one in which the job has ended for good. Only
    of a job that ends before our eyes anything is fetched or begun anew."""
    watched = False
    while not has_ended(status := state_of(run)):
        watched = True
        bring_logs(run, newest_attempt(run), status)
        yield status
        time.sleep(POLL_S)
    bring_logs(run, newest_attempt(run), status)
    if watched and (reason := goes_on(run, status)):
        told(reason)
        if begin_next(run, status, told=told):
            yield from _looks(run, told=told)
            return
    if watched and status.state != "lost":
        bring_home(run, told=told)
    yield status


def _follow_events(run: RunDir) -> Iterator[dict[str, Any]]:
    tail = EventTail(run.events)
    for _ in _looks(run):
        yield from tail.read()


def _follow_logs(lines: RunTail, rank: int | None) -> Iterator[str]:
    for status in _looks(lines.run):
        yield from lines.new_lines(rank, status)


def _logs_now(lines: RunTail, rank: int | None) -> Iterator[str]:
    found = list(lines.new_lines(rank, state_of(lines.run)))
    if rank is not None and not lines.logs:
        raise NotFoundError(f"{lines.run.id}: attempt {lines.since} has no log of rank {rank}")
    return iter(found)
