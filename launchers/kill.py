"""SIGKILL to a whole attempt on this machine, as a power cut would: what `verify-resume` proves survival of."""

import contextlib
import os
import signal

from runjob.launchers.base import read_handle
from runjob.launchers.place import look_for
from runjob.schemas.errors import LaunchError
from runjob.schemas.processes import descendants
from runjob.schemas.run import RunDir


def kill_everything(run: RunDir) -> None:
    """The supervisor and all that is below it. LaunchError unless it is surely that process and it lives here."""
    handle = read_handle(run)
    if handle is None or "pid" not in handle.facts or look_for(handle.facts) != "alive":
        raise LaunchError(f"{run.id}: no process of it lives on this machine")
    supervisor = int(handle.facts["pid"])
    # Listed before the first is killed: a dead supervisor has no descendants.
    pids = [supervisor, *(process.pid for process in descendants(supervisor))]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
