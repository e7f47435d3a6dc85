"""This machine: the supervisor as a detached process, found again by pid, start time and boot.

What runs is the code frozen in the run directory, never the working tree: a later edit can't reach a running job.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runjob.launchers.base import SUBMISSION_GRACE_S, Handle, read_handle
from runjob.launchers.logs import tail
from runjob.launchers.place import look_for
from runjob.schemas.errors import LaunchError
from runjob.schemas.plan import Plan
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status

OUR_PLACES = ("RUNJOB_HOME", "RUNJOB_CACHE")


class LocalLauncher:
    def __init__(self, post: Sequence[str] = ()) -> None:
        """`post`: further words for the supervisor, where this machine is one node of several."""
        self.post = post

    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        with attempt.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "runjob.launchers.supervisor", str(run.path), str(attempt.number), *self.post],
                cwd=run.path,
                env=frozen_environment(run),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._wait_for_handle(run, attempt, process)

    def _wait_for_handle(self, run: RunDir, attempt: Attempt, process: subprocess.Popen[bytes]) -> Handle:
        """The supervisor writes handle.json itself, so that no moment exists in which it runs and can't be found."""
        deadline = time.monotonic() + SUBMISSION_GRACE_S
        while time.monotonic() < deadline:
            handle = read_handle(run)
            if handle is not None and handle.attempt == attempt.number and handle.facts:
                # Our child only until this command ends; nobody here waits for it, on purpose.
                process.returncode = 0
                return handle
            if process.poll() is not None:
                raise LaunchError(
                    f"{run.id}: the supervisor ended at once with code {process.returncode}; "
                    f"its last words:\n{tail(attempt.supervisor_log, 5)}"
                )
            time.sleep(0.01)
        process.kill()
        process.wait()
        raise LaunchError(
            f"{run.id}: the supervisor gave no sign for {SUBMISSION_GRACE_S:.0f} s; see {attempt.supervisor_log}"
        )

    def state(self, run: RunDir) -> Status:
        status = run.read_status()
        if status.state not in ALIVE_STATES:
            return status
        handle = read_handle(run)
        seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.updated))
        if handle is None or handle.attempt != status.attempt:
            return never_started(status)
        presence = look_for(handle.facts)
        if presence == "alive":
            return status
        # It may have ended, and written so, between our two looks.
        status = run.read_status()
        if status.state not in ALIVE_STATES or status.attempt != handle.attempt:
            return status
        if presence == "elsewhere":
            message = f"it runs on {handle.facts['host']}, whose processes can't be seen from here; last sign at {seen}"
            return replace(status, state="unreachable", message=message)
        message = (
            f"the supervisor (pid {handle.facts['pid']} on {handle.facts['host']}) is gone without a word; "
            f"it was {status.state}, last seen at {seen}"
        )
        return replace(status, state="lost", message=message)

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        return tuple(sorted(attempt.path.glob("*.log"), key=lambda path: (path.stat().st_mtime, path.name)))

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        attempt.request_stop("cancel")


def never_started(status: Status) -> Status:
    """Of an attempt that has no place yet: on its way for a while, then lost."""
    if abs(time.time() - status.updated) < SUBMISSION_GRACE_S:  # the clock may have been set back since
        return status
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.updated))
    message = f"attempt {status.attempt} was submitted at {seen} and its supervisor never started"
    return replace(status, state="lost", message=message)


def frozen_environment(run: RunDir) -> dict[str, str]:
    """Our environment with the run's own code first; PYTHONSAFEPATH keeps a `data/` under the current directory out."""
    path = os.pathsep.join([str(run.code), *filter(None, [os.environ.get("PYTHONPATH")])])
    # The job runs in its own directory; places that the user named from here must stay where they are.
    places = {name: str(Path(os.environ[name]).absolute()) for name in OUR_PLACES if os.environ.get(name)}
    return {**os.environ, **places, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
