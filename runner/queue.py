"""The process that begins the cells of a group at their turn: `python -m runjob.runner.queue GROUP_DIR [--again]`.

It is started detached and outlives the terminal. All that it knows stands in the runs themselves, so it may be killed
at any moment: a cell that runs has a supervisor of its own, and one that waits goes on waiting until `resume GROUP`. It
also does for each cell what a follower does: where a place was taken away it begins the next attempt, and it brings
home what was made elsewhere.
"""

import argparse
import sys
import time
from pathlib import Path

from runjob.launchers.place import own_place
from runjob.runner.asking import state_soon
from runjob.runner.cancel import cancel
from runjob.runner.commands_fetch import fetch_at_the_end
from runjob.runner.follow import has_ended
from runjob.runner.group import NOT_BEGUN, claim, waiting_and_stopped
from runjob.runner.lock import locked
from runjob.runner.requeue import begin_next, goes_on
from runjob.runner.resume import Wish, resume
from runjob.runner.submit import launch
from runjob.runner.turn import is_waiting
from runjob.schemas.errors import RunjobError, StateError
from runjob.schemas.file_lock import held
from runjob.schemas.group import GroupDir
from runjob.schemas.own_log import say
from runjob.schemas.plan import Plan
from runjob.schemas.run import RunDir

POLL_S = 0.5
# As long as somebody may be cancelling the cell whose turn it is
PATIENCE_S = 30.0


def work_off(group: GroupDir, *, again: bool) -> None:
    """Begin every cell that waits, `at_once` at a time, and return when the last has ended. One that fails, or can't
    even be begun, stops no other."""
    known = group.read()
    runs = group.runs()
    waiting, left = waiting_and_stopped(runs)
    left = left if again else []
    todo = [run for run in runs if run in waiting or run in left]
    active = [run for run in runs if run not in todo and not is_settled(run)]
    say(f"{group.id}: {len(todo)} to begin, {known.at_once} at a time, {len(active)} at work already")
    while todo or active:
        active = [run for run in active if not is_over(run)]
        if todo and group.stop.exists():
            say(f"{group.id}: asked to begin no more, {len(todo)} are left as they are")
            todo = []
        while todo and len(active) < known.at_once:
            run = todo.pop(0)
            if begin(run, launcher=known.launcher, again=run in left):
                active.append(run)
                if group.stop.exists():  # whoever asked saw it as it was before
                    say(cancel(run))
        time.sleep(POLL_S)
    say(f"{group.id}: all have ended")


def begin(run: RunDir, *, launcher: str, again: bool) -> bool:
    """Is it at work now? One that was cancelled while it waited is not."""
    try:
        if again:
            for line in resume(run, Wish(), told=say):
                say(f"{run.id}: {line}")
            return True
        with locked(run, patience_s=PATIENCE_S):
            if not is_waiting(run):
                say(f"{run.id} is {run.read_status().state}: not begun")
                return False
            say(f"{run.id} begins")
            launch(run, Plan.read(run.plan), run.attempt(1), launcher=launcher)
            return True
    except RunjobError as error:
        say(f"{run.id} {NOT_BEGUN}: {error}")
        return False


def is_settled(run: RunDir) -> bool:
    """Has it ended, and is its model at home? That of one which ended elsewhere while no queue lived is not."""
    status = state_soon(run)
    return has_ended(status) and (status.state != "finished" or run.model.is_dir())


def is_over(run: RunDir) -> bool:
    """Has it ended, and is what it made at home?"""
    status = state_soon(run)
    if not has_ended(status):
        return False
    if why := goes_on(run, status):
        say(f"{run.id}: {why}")
        if begin_next(run, status, told=say):
            return False
    say(f"{run.id} is {status.state}: {status.message}")
    if status.state != "lost":
        fetch_at_the_end(run)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runjob.runner.queue")
    parser.add_argument("group", type=Path)
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    group = GroupDir(args.group)
    busy = StateError(f"{group.id}: another queue is at work")
    try:
        with held(group.lock, patience_s=0.0, busy=busy, broken=RunjobError):
            claim(group)
            say(f"the queue is process {own_place()['pid']}")
            work_off(group, again=args.again)
    except RunjobError as error:
        say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
