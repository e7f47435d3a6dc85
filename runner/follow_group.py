"""The cells of a matrix together, as their user meets them: submitted, followed to the end, stopped, taken up again."""

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from runjob.launchers.place import look_for
from runjob.runner.asking import states_of
from runjob.runner.commands_fetch import fetch_at_the_end, tell
from runjob.runner.follow import ask, has_ended
from runjob.runner.group import begin_cells, create_group, takes_together
from runjob.runner.text_group import group_text
from runjob.runner.turn import at_work, is_waiting
from runjob.schemas.errors import JobError, MissingError, StateError
from runjob.schemas.group import GroupDir
from runjob.schemas.plan import Plan
from runjob.schemas.problems import JobFileError
from runjob.schemas.read import Cell
from runjob.schemas.run import RunDir, Status, home, read_json

POLL_S = 0.5
# Elsewhere than on a terminal too a line about the whole in this time is enough
QUIET_S = 30.0
# Codes of cells by what their user would want to hear of first
WORST_FIRST = (1, 2, 130, 75, 0)


def submit_group(cells: Sequence[Cell], *, source: Path, launcher: str, at_once: int | None, detach: bool) -> int:
    together = takes_together(launcher)
    if together and at_once is not None:
        raise JobError("--at-once: Slurm begins them itself; hardware.slurm.array_parallelism says how many at a time")
    plans = plans_of(cells, launcher)
    group = create_group(cells, plans, source=source, home=home(), launcher=launcher, at_once=at_once or 1)
    print(group.id, flush=True)
    begin_cells(group, again=False, told=tell)
    how = "" if together else f", {at_once or 1} at a time"
    print(f"{len(cells)} jobs{how}: runjob status {group.id}", flush=True)
    return after_start(group, detach=detach)


def plans_of(cells: Sequence[Cell], launcher: str) -> list[Plan]:
    """MissingError or JobFileError, before anything is written, with all that any of them lacks."""
    from runjob.runner.place import foretell, plan_on, survey

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
        tell(line)
    return plans


def resume_group(group: GroupDir, args: Namespace) -> int:
    """Its cells that wait, and those that were stopped, each at its turn."""
    named = [word for word, given in (("--set", args.sets), ("--launcher", args.launcher)) if given]
    named += ["--from"] if args.start_from != "latest" else []
    if named:
        raise JobError(
            f"{group.id} is a group; {' and '.join(named)} can be said of one of its jobs: runjob ps {group.id}"
        )
    if at_work(group):
        queue = read_json(group.queue)
        if look_for(queue) == "alive":
            raise StateError(f"{group.id}: its queue is at work, and begins each job at its turn")
        if not args.accept:
            raise StateError(
                f"{group.id}: its queue was begun on {queue['host']}, whose processes can't be seen from here; if it "
                "is gone, --accept begins another"
            )
    if args.at_once is not None:
        known = group.read()
        group.write(type(known)(launcher=known.launcher, at_once=args.at_once, members=known.members))
    begin_cells(group, again=True, told=tell)
    print(group.id, flush=True)
    return after_start(group, detach=args.detach)


def after_start(group: GroupDir, *, detach: bool) -> int:
    if detach:
        return 0
    if follow_group(group):
        print(f"detached; runjob status {group.id}, runjob cancel {group.id}", flush=True)
        return 0
    runs = group.runs()
    if takes_together(group.read().launcher):  # else the queue has brought home what each has made
        for run in runs:
            fetch_at_the_end(run)
    print(group_text(group), flush=True)
    return worst(runs, states_of(runs))


def worst(runs: Sequence[RunDir], found: Sequence[Status]) -> int:
    from runjob.runner.commands_run import exit_code

    codes = {exit_code(run, status) for run, status in zip(runs, found, strict=True)}
    return next((code for code in WORST_FIRST if code in codes), 0)


def follow_group(group: GroupDir) -> bool:
    """Each job's changes of state as lines, until the last has ended. True if the user has left before."""
    said: dict[str, str] = {}
    counted_at = time.monotonic()
    stopping = False
    while True:
        try:
            runs = group.runs()
            found = states_of(runs)
            for run, status in zip(runs, found, strict=True):
                line = f"{run.id} is {status.state}" + (f": {status.message}" if has_ended(status) else "")
                if said.get(run.id, f"{run.id} is pending") != line:
                    print(line, flush=True)
                said[run.id] = line
            if all(map(has_ended, found)) and not at_work(group):
                return False
            if time.monotonic() - counted_at > QUIET_S:
                counted_at = time.monotonic()
                print(counts(found), flush=True)
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            if stopping or ask() == "detach":
                return True
            stopping = True
            cancel_group(group, wait=False)


def counts(found: Sequence[Status]) -> str:
    """`2 finished, 1 running, 3 pending`."""
    states = [status.state for status in found]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def cancel_group(group: GroupDir, *, wait: bool) -> int:
    """Those that wait first, the last of them first, so that the queue begins none while the others are stopped."""
    from runjob.runner.cancel import cancel, wait_for_end

    runs = group.runs()
    for run in [*filter(is_waiting, reversed(runs)), *runs]:
        if not has_ended(states_of([run])[0]):
            print(cancel(run), flush=True)
    for run in runs if wait else ():
        deadline_s = Plan.read(run.plan).stop_deadline_s
        status = wait_for_end(run, timeout_s=deadline_s + 30)
        print(f"{run.id} is {status.state}: {status.message}", flush=True)
    return 0
