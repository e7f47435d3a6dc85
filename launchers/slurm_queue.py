"""What Slurm itself says of a job: one squeue for all of them, then the records of jobs that it has forgotten.

squeue knows a job until MinJobAge (5 minutes) after its end; job completion records (`sacct -c`) and the accounting
database (`sacct`) know it longer, where a site keeps them. Which of them answers makes no difference to the caller.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from runjob.schemas.errors import RunjobError

# squeue gives up by itself only after MessageTimeout (10 s) and more.
PATIENCE_S = 4.0
# A follower looks several times a second, `ps` once for each of its jobs.
FRESH_S = 1.5
FORMAT = "%i|%T|%r|%N|%j|%k"

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
WORKING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT")
# Reasons with which a job waits for ever unless somebody changes it, or the cluster.
NEVER = {
    "PartitionNodeLimit": "it asks for more nodes than its partition has or allows",
    "PartitionTimeLimit": "its time limit is longer than its partition allows",
    "PartitionInactive": "its partition takes no jobs",
    "PartitionDown": "its partition is down",
    "BadConstraints": "no node has what hardware.slurm.constraint asks for",
    "AccountNotAllowed": "its account may not use this partition or QOS",
    "QOSNotAllowed": "its QOS may not be used here",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held; `scontrol release` lets it go",
    "InvalidAccount": "its account does not exist",
    "InvalidQOS": "its QOS does not exist",
    "Reservation": "its reservation does not exist or does not fit",
    "DependencyNeverSatisfied": "a job that it waits for has failed",
    "launch_failed_requeued_held": "Slurm could not start it, and holds it; `scontrol release` lets it try again",
}


class SlurmSilentError(RunjobError):
    """Slurm does not answer: nothing is known, which is not the same as nothing being there."""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """One job in Slurm's words; `nodes` as a list of its own such as `node[1-2]`."""

    id: str
    state: str
    reason: str
    nodes: str
    name: str = ""
    comment: str = ""


class Queue:
    """squeue's answer, asked anew when it is older than a follower would notice. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: Mapping[str, SlurmJob] = {}
        self._asked_at = float("-inf")
        self._problem = ""

    def jobs(self, *, fresh: bool = False) -> Mapping[str, SlurmJob]:
        """By id. SlurmSilentError where squeue fails, also to those who ask again at once."""
        with self._lock:
            if fresh or time.monotonic() - self._asked_at > FRESH_S:
                self._ask()
            if self._problem:
                raise SlurmSilentError(self._problem)
            return self._jobs

    def forget(self) -> None:
        """Whoever has just submitted a job must not hear that Slurm lacks it."""
        with self._lock:
            self._asked_at = float("-inf")

    def _ask(self) -> None:
        try:
            self._jobs, self._problem = parse_squeue(ask("squeue", *own_jobs())), ""
        except SlurmSilentError as error:
            self._problem = str(error)
        self._asked_at = time.monotonic()

    def find(self, job: str) -> SlurmJob | None:
        """From the queue, else from what is kept of jobs that have ended; None where nobody knows it."""
        found = self.jobs().get(job)
        return found if found is not None else ask_records(job)

    def named(self, name: str, comment: str, task: int | None) -> SlurmJob | None:
        """A job by the name and comment that it was submitted with, of an array one task: who submitted it may not have
        learnt its id."""
        jobs = [job for job in self.jobs(fresh=True).values() if (job.name, job.comment) == (name, comment)]
        return next((job for job in jobs if task is None or job.id.endswith(f"_{task}")), None)


def own_jobs() -> tuple[str, ...]:
    return ("--me", "--all", "--array", "--noheader", "--states=all", f"--format={FORMAT}")


def parse_squeue(text: str) -> dict[str, SlurmJob]:
    """
    >>> parse_squeue("7|PENDING|Resources||a-1|runjob attempt 1")["7"].reason
    'Resources'
    """
    rows = (line.split("|", 5) for line in text.splitlines() if line.count("|") >= 5)
    return {
        row[0]: SlurmJob(id=row[0], state=row[1], reason=row[2], nodes=row[3], name=row[4], comment=row[5])
        for row in rows
    }


def ask_records(job: str) -> SlurmJob | None:
    """Completion records first: they need no database, and a site that keeps none answers at once."""
    for which in (("--completion",), ("--allocations",)):
        argv = (*which, "--noheader", "--parsable2", "--format=JobID,State,NodeList", f"--jobs={job}")
        try:
            text = ask("sacct", *argv)
        except SlurmSilentError:
            continue  # this cluster keeps no such records
        found = parse_sacct(text, job)
        if found is not None:
            return found
    return None


def parse_sacct(text: str, job: str) -> SlurmJob | None:
    """The last record of the job: a requeued one has several. `CANCELLED by 0` is CANCELLED."""
    rows = [line.split("|") for line in text.splitlines() if line.startswith(f"{job}|") and line.count("|") == 2]
    if not rows:
        return None
    _, state, nodes = rows[-1]
    return SlurmJob(id=job, state=state.split()[0] if state else "", reason="", nodes=nodes)


def ask(program: str, *arguments: str) -> str:
    """A command of Slurm's. SlurmSilentError says why there is no answer."""
    if shutil.which(program) is None:
        raise SlurmSilentError(f"{program} is not installed here; ask from a machine of the cluster")
    try:
        # with our own SQUEUE_ and SACCT_ settings out of the way: they change what is listed
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
        answer = subprocess.run(
            [program, *arguments], env=kept, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmSilentError(f"{program} got no answer from slurmctld in {PATIENCE_S:.0f} s") from error
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines()
        raise SlurmSilentError(f"{program}: {lines[-1] if lines else f'ended with code {answer.returncode}'}")
    return answer.stdout
