"""The state of a job from two witnesses: what its run directory says, and what Slurm says. Purely, so that every pair
can be tried."""

import time
from dataclasses import replace

from runjob.launchers.slurm_queue import NEVER, WAITING, WORKING, SlurmJob
from runjob.schemas.run import Exit, State, Status

# Ends that Slurm gives a job, in words a user can act on.
ENDS: dict[str, tuple[State, str]] = {
    "CANCELLED": ("cancelled", "cancelled in Slurm (scancel), not by runjob"),
    "TIMEOUT": ("failed", "its time limit ended it before it had saved; a larger hardware.slurm.signal_before"
                          " gives it more time"),
    "NODE_FAIL": ("failed", "its node failed, and Slurm did not start it again"),
    "BOOT_FAIL": ("failed", "its node did not boot"),
    "OUT_OF_MEMORY": ("failed", "the node's memory was not enough; hardware.slurm.memory asks for more"),
    "PREEMPTED": ("preempted", "preempted by Slurm, which did not start it again"),
    "DEADLINE": ("failed", "Slurm's deadline for it has passed"),
}  # fmt: skip


def judge(stored: Status, said: Exit | None, job: SlurmJob | None, number: str, folder: str) -> Status:
    """`stored` is alive, by the run directory; `said` is its newest attempt's exit.json, `job` is Slurm's word on job
    `number`, None where nobody knows it any more."""
    if job is None:
        message = f"Slurm knows nothing of job {number} any more; it was {stored.state}, last sign at {clock(stored)}"
        return replace(stored, state="lost", message=message)
    if job.state in WAITING:
        return replace(stored, state="pending", message=waiting(stored, job))
    if job.state in WORKING:
        if stored.state == "pending" and not stored.message:
            return replace(stored, message=f"Slurm starts it on {job.nodes} (job {job.id})")
        return stored
    if job.state in ENDS:
        state, why = ENDS[job.state]
        saved = f"; it had saved at step {said.step}" if said is not None and said.outcome == "preempted" else ""
        return replace(stored, state=state, message=f"{why}{saved} (job {job.id})")
    where = f" on {job.nodes}" if job.nodes else ""
    if stored.state == "pending":
        message = (
            f"Slurm could not start it{where}: {job.state} {job.reason} (job {job.id}); can the nodes see {folder} and "
            "its interpreter?"
        )
        return replace(stored, state="failed", message=message)
    message = f"Slurm says {job.state}{where} (job {job.id}), and the job never said how it ended"
    return replace(stored, state="lost", message=message)


def waiting(stored: Status, job: SlurmJob) -> str:
    """Why it waits, and whether it can ever stop waiting."""
    before = f"{stored.message}; " if stored.message and stored.state != "running" else ""
    if stored.state == "running":
        before = f"its node went away, last sign at {clock(stored)}; "
    why = next((text for reason, text in NEVER.items() if job.reason.startswith(reason)), "")
    if why:
        return f"{before}it can't start as it is: {why} ({job.reason}, job {job.id})"
    return f"{before}waits in Slurm's queue as job {job.id} ({job.reason})"


def clock(stored: Status) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stored.updated))
