"""Ask launchers how jobs are, many at once and each with a deadline: a host that doesn't answer delays nobody."""

import threading
import time
from collections.abc import Sequence

from runjob.launchers import find_launcher
from runjob.launchers.base import Revisitor, read_handle
from runjob.runner.runs import ended_status, launcher_name, state_of
from runjob.schemas.errors import RunjobError
from runjob.schemas.run import ALIVE_STATES, RunDir, Status

# Longer than a launcher needs for a healthy host on another continent, short enough to wait for.
DEADLINE_S = 5.0


def states_of(runs: Sequence[RunDir]) -> list[Status]:
    """The state of each; `unreachable` where the launcher gave none within the deadline."""
    ended = {run.id: status for run in runs if (status := ended_status(run)) is not None}
    runs_on = [run for run in runs if run.id not in ended]
    # a launcher is made once, here, and not by all threads together
    remote = {run.id for run in runs_on if _is_asked_elsewhere(run)}
    found: dict[str, Status] = {}
    threads = [
        threading.Thread(target=lambda run=run: found.update({run.id: state_of(run)}), daemon=True)
        for run in runs_on
        if run.id in remote
    ]
    deadline = time.monotonic() + DEADLINE_S
    for thread in threads:
        thread.start()
    here = {run.id: state_of(run) for run in runs_on if run.id not in remote}
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    answered = {**found, **here, **ended}
    return [answered[run.id] if run.id in answered else _no_answer(run) for run in runs]


def state_soon(run: RunDir) -> Status:
    return states_of([run])[0]


def state_anew(run: RunDir) -> Status:
    """For an order that would change the job: as `state_soon`, and where it has ended for us its place is asked whether
    another home has taken it up there since."""
    status = state_soon(run)
    handle = read_handle(run)
    if status.state in ALIVE_STATES or handle is None or not handle.facts:
        return status
    launcher = find_launcher(handle.launcher)
    if not isinstance(launcher, Revisitor):
        return status
    there = launcher.revisit(run)
    return there if there.state in ALIVE_STATES or there.attempt > status.attempt else status


def _is_asked_elsewhere(run: RunDir) -> bool:
    """Does the state of a run that has not ended need a launcher other than that of this machine, who only looks into
    /proc?"""
    try:
        name = launcher_name(run)
        if name != "local":
            find_launcher(name)
            return True
    except RunjobError:
        return False  # state_of says what is wrong with it
    return False


def _no_answer(run: RunDir) -> Status:
    status = run.read_status()
    seen = time.strftime("%H:%M:%S", time.localtime(status.updated))
    message = f"unreachable (last sign {seen}): {launcher_name(run)} gave no answer within {DEADLINE_S:.0f} s"
    return Status(state="unreachable", attempt=status.attempt, updated=status.updated, message=message)
