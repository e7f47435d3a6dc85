"""A file with a matrix becomes a group of runs, and a group is taken up again: what the command line and Python's
`submit` and `resume` share."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from runjob.launchers.place import look_for
from runjob.runner.asking import states_of
from runjob.runner.from_run import settle_runs
from runjob.runner.group import begin_cells, create_group, takes_together, waiting_and_stopped
from runjob.runner.place import foretell, plan_on, survey
from runjob.runner.runs import summarise
from runjob.runner.turn import at_work
from runjob.schemas.errors import JobError, MissingError, StateError
from runjob.schemas.group import GroupDir
from runjob.schemas.plan import Plan
from runjob.schemas.problems import JobFileError
from runjob.schemas.read import Cell
from runjob.schemas.run import home, read_json


def create(
    cells: Sequence[Cell], *, source: Path, launcher: str, at_once: int | None, told: Callable[[str], None]
) -> GroupDir:
    """Everything that can be refused is refused here, before there is a group; `begin_cells` begins it."""
    if takes_together(launcher) and at_once is not None:
        raise JobError("--at-once: Slurm begins them itself; hardware.slurm.array_parallelism says how many at a time")
    cells = [dataclasses.replace(cell, resolved=settle_runs(cell.resolved)) for cell in cells]
    plans = plans_of(cells, launcher, told=told)
    return create_group(cells, plans, source=source, home=home(), launcher=launcher, at_once=at_once or 1)


def plans_of(cells: Sequence[Cell], launcher: str, *, told: Callable[[str], None]) -> list[Plan]:
    """MissingError or JobFileError, before anything is written, with all that any of them lacks."""
    plans, said, wrong = [], dict[str, None](), dict[str, JobFileError | MissingError]()
    for cell in cells:
        try:
            place = survey(cell.resolved, launcher)
            said.update(dict.fromkeys(foretell(cell.resolved, place)))
            plans.append(plan_on(cell.resolved, place))
        except (JobFileError, MissingError) as error:
            wrong.setdefault(str(error), error)
    if len(wrong) == 1:
        raise next(iter(wrong.values()))
    if wrong:
        raise MissingError("\n".join(wrong))
    for line in said:
        told(line)
    return plans


def check_free(group: GroupDir, *, accept: bool) -> None:
    """StateError while somebody begins its cells already."""
    if not at_work(group):
        return
    queue = read_json(group.queue)
    if look_for(queue) == "alive":
        raise StateError(f"{group.id}: its queue is at work, and begins each job at its turn")
    if not accept:
        raise StateError(
            f"{group.id}: its queue was begun on {queue['host']}, whose processes can't be seen from here; if it "
            "is gone, --accept begins another"
        )


def take_up(group: GroupDir, *, at_once: int | None, told: Callable[[str], None]) -> None:
    """Its cells that wait, and those that were stopped or failed, each at its turn."""
    if at_once is not None:
        known = group.read()
        group.write(type(known)(launcher=known.launcher, at_once=at_once, members=known.members))
    begin_cells(group, again=True, told=told)


def what_is_left(group: GroupDir) -> list[str]:
    """A line of each cell that is not done: what it was, and the class of a failure, which may only come again."""
    waiting, stopped = waiting_and_stopped(group.runs())
    rows = map(summarise, stopped, states_of(stopped))
    was = [f"{row.id} goes on, it was {row.state}" + (f" ({row.failure})" if row.failure else "") for row in rows]
    return [*was, *(f"{run.id} was never begun, and begins" for run in waiting)] or ["no cell of it is left to begin"]
