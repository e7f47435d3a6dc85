"""The cells of a matrix together, as their user meets them: submitted, followed to the end, stopped, taken up again."""

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from runjob.runner.asking import states_of
from runjob.runner.commands_fetch import fetch_at_the_end, tell
from runjob.runner.follow import ask, has_ended
from runjob.runner.group import NOT_BEGUN, begin_cells, takes_together
from runjob.runner.text_group import group_text
from runjob.runner.turn import at_work
from runjob.schemas.errors import JobError
from runjob.schemas.group import GroupDir
from runjob.schemas.plan import Plan
from runjob.schemas.read import Cell
from runjob.schemas.run import RunDir, Status

POLL_S = 0.5
# Elsewhere than on a terminal too a line about the whole in this time is enough
QUIET_S = 30.0
# Codes of cells by what their user would want to hear of first
WORST_FIRST = (1, 2, 130, 75, 0)


def submit_group(cells: Sequence[Cell], *, source: Path, launcher: str, at_once: int | None, detach: bool) -> int:
    from runjob.runner.begin_group import create

    group = create(cells, source=source, launcher=launcher, at_once=at_once, told=tell)
    print(group.id, flush=True)
    begin_cells(group, again=False, told=tell)
    how = "" if takes_together(launcher) else f", {at_once or 1} at a time"
    print(f"{len(cells)} jobs{how}: runjob status {group.id}", flush=True)
    return after_start(group, detach=detach)


def resume_group(group: GroupDir, args: Namespace) -> int:
    from runjob.runner.begin_group import check_free, take_up, what_is_left

    named = [word for word, given in (("--set", args.sets), ("--launcher", args.launcher)) if given]
    named += ["--from"] if args.start_from != "latest" else []
    if named:
        raise JobError(
            f"{group.id} is a group; {' and '.join(named)} can be said of one of its jobs: runjob ps {group.id}"
        )
    check_free(group, accept=args.accept)
    print(group.id, flush=True)
    print("\n".join(what_is_left(group)), flush=True)
    said = group.log.stat().st_size if group.log.exists() else 0
    take_up(group, at_once=args.at_once, told=tell)
    return after_start(group, detach=args.detach, said=said)


def after_start(group: GroupDir, *, detach: bool, said: int = 0) -> int:
    """`said` bytes of the queue's log are of earlier ones."""
    if detach:
        return 0
    if follow_group(group):
        print(f"detached; runjob status {group.id}, runjob cancel {group.id}", flush=True)
        return 0
    for line in refusals(group, said):
        tell(line)
    runs = group.runs()
    if takes_together(group.read().launcher):  # else the queue has brought home what each has made
        for run in runs:
            fetch_at_the_end(run)
    print(group_text(group), flush=True)
    return worst(runs, states_of(runs))


def refusals(group: GroupDir, said: int) -> list[str]:
    """Cells that the queue could not begin, and why: no file of theirs tells it, since they are as they were."""
    text = group.log.read_bytes()[said:].decode(errors="replace") if group.log.exists() else ""
    return [line for line in text.splitlines() if NOT_BEGUN in line]


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
    from runjob.runner.cancel import cancel_cells, wait_for_end

    for line in cancel_cells(group):
        print(line, flush=True)
    for run in group.runs() if wait else ():
        deadline_s = Plan.read(run.plan).stop_deadline_s
        status = wait_for_end(run, timeout_s=deadline_s + 30)
        print(f"{run.id} is {status.state}: {status.message}", flush=True)
    return 0
