"""Stop a job: ask the one that runs, settle the one that waits, and say so of the one that has ended."""

import time
from collections.abc import Iterator

from runjob.launchers.base import Surveyor, read_handle
from runjob.runner.asking import state_anew, state_soon
from runjob.runner.lock import locked
from runjob.runner.runs import launcher_of, newest_attempt, state_of
from runjob.runner.turn import at_work, is_waiting
from runjob.schemas.errors import RunjobError, StateError
from runjob.schemas.group import GroupDir
from runjob.schemas.run import ALIVE_STATES, RunDir, Status, write_json

POLL_S = 0.1
# As long as another `cancel` may take that only writes something down
LOCK_S = 3.0
WHILE_PREEMPTED = "cancelled while preempted"
# How an answer ends after which the job still has to save
ASKED = "asked to save and stop"


def cancel(run: RunDir) -> str:
    """What was done, in a sentence. Never an error: a job that has ended is what the user wanted."""
    try:
        with locked(run, patience_s=LOCK_S):
            return settle_or_ask(run)
    except StateError:
        if not is_on_its_way(run):
            raise
        # Renting and copying take minutes, and whoever does it looks for this between two steps
        newest_attempt(run).request_stop("cancel")
        return f"{run.id} is being submitted; it stops as soon as it starts, or before"


def cancel_cells(group: GroupDir) -> Iterator[str]:
    """The queue first, which may be about to take up what was stopped before; then those that wait, the last of them
    first, so that none begins while the others are stopped."""
    if at_work(group):
        write_json(group.stop, {"time": time.time()})
        yield f"{group.id}: no more of its jobs are begun"
    runs = group.runs()
    for run in [*filter(is_waiting, reversed(runs)), *runs]:
        if state_soon(run).state in (*ALIVE_STATES, "unreachable"):
            yield cancel(run)


def is_on_its_way(run: RunDir) -> bool:
    """Has whoever holds the run handed it over to a launcher? Before that the newest attempt is one that has ended
    (also where its last words say that it runs), and nobody would look for a wish that is left there."""
    handle, status = read_handle(run), run.read_status()
    if handle is not None and not handle.facts:
        return status.state == "pending" and status.attempt == handle.attempt
    return state_soon(run).state in ALIVE_STATES


def settle_or_ask(run: RunDir) -> str:
    if is_waiting(run):
        run.write_status("cancelled", attempt=run.read_status().attempt, message="cancelled before its turn")
        return f"{run.id} waited for its turn and is now cancelled"
    status = state_anew(run)
    handle = read_handle(run)
    if status.state in ALIVE_STATES and (handle is None or not handle.facts):
        # somebody is submitting it just now: the request goes along
        newest_attempt(run).request_stop("cancel")
        return f"{run.id} is being submitted; it stops as soon as it starts"
    if status.state in ALIVE_STATES:
        return ask(run, f"{run.id} was {status.state}; {ASKED}")
    if status.state == "unreachable" and isinstance(launcher_of(run), Surveyor):
        # it may answer again just now; one attempt of ours is as patient as any
        return ask(run, f"{run.id} was unreachable; {ASKED}")
    if status.state == "unreachable":
        newest_attempt(run).request_stop("cancel")
        return f"{run.id} is unreachable; it saves and stops if it still runs and sees this directory"
    if status.state == "preempted":
        run.write_status("cancelled", attempt=status.attempt, message=WHILE_PREEMPTED)
        return f"{run.id} was preempted and is now cancelled"
    return f"{run.id} is {status.state}; there is nothing to cancel"


def ask(run: RunDir, done: str) -> str:
    try:
        launcher_of(run).cancel(run, newest_attempt(run))
    except RunjobError as error:
        said = f"{run.id} could not be asked to stop: {error}"
        return f"{said}\nif it still runs it goes on; once it can be reached: runjob cancel {run.id}"
    status = state_soon(run)
    if status.state == "unreachable":
        return f"{run.id} is {status.message}; the request waits here, and it stops when it can be reached"
    return done


def wait_for_end(run: RunDir, *, timeout_s: float) -> Status:
    """The state when it has ended, or when patience has."""
    deadline = time.monotonic() + timeout_s
    while (status := state_of(run)).state in ALIVE_STATES and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return status
