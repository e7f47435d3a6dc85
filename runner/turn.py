"""A cell of a group that nobody has begun yet: is its turn to come, and what is said of it meanwhile?"""

from dataclasses import replace

from runjob.launchers.base import read_handle
from runjob.launchers.place import look_for
from runjob.schemas.group import GroupDir, group_of
from runjob.schemas.run import RunDir, Status, read_json


def at_work(group: GroupDir) -> bool:
    """Does the process live that begins the cells, as far as can be seen from here? One of another machine may."""
    return group.queue.exists() and look_for(read_json(group.queue)) != "dead"


def is_waiting(run: RunDir) -> bool:
    """Is it a cell that nobody has begun? Once it is handed over its handle has facts, or its state is another."""
    if not run.cell.exists():
        return False
    handle, status = read_handle(run), run.read_status()
    return status.state == "pending" and status.attempt == 1 and not (handle and handle.facts)


def waiting_status(run: RunDir, status: Status) -> Status | None:
    """Of a cell that waits: pending while somebody is there to begin it, else lost. None for any other run."""
    group = group_of(run)
    if group is None or status.state != "pending" or status.attempt != 1:
        return None
    if at_work(group):
        return status
    message = f"it was never begun: the queue of {group.id} is gone; `runjob resume {group.id}` goes on with it"
    return replace(status, state="lost", message=message)
