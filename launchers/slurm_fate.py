"""Asked on a node, when a signal has come and the job has saved: why does Slurm end this job, and may it come back?"""

import subprocess
import time
from dataclasses import dataclass

from runjob.launchers.slurm_words import WARNING_EARLY_S, read_facts, seconds

# slurmctld may be restarting just now; Slurm waits KillWait (30 s) before it ends what has not ended by itself.
PATIENCE_S = 20.0
PAUSE_S = 1.0
COMMAND_S = 10.0
# What `scontrol requeue` says of a job that Slurm has requeued itself
ALREADY = "pending execution"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """`leave`: Slurm is ending the job for a reason of somebody's own (scancel, scontrol requeue), and what becomes of
    it is theirs to say."""

    leave: bool
    why: str
    state: str = ""  # as Slurm calls such an end


def ask_fate(job: str, *, warning_s: int) -> Fate:
    """A job that still counts as running was only warned, `warning_s` before its limit. One that Slurm already ends was
    cancelled or requeued by somebody, unless the reason is its time limit or a preemption without grace."""
    facts = read_facts(describe(job))
    reason = facts.get("Reason", "None")
    if facts.get("PreemptTime", "None") not in ("None", ""):
        return Fate(leave=False, why="preempted by a job of higher priority", state="PREEMPTED")
    if reason == "TimeLimit" or time_left(facts) <= 0:
        return Fate(leave=False, why="its time limit was reached", state="TIMEOUT")
    if facts.get("JobState", "RUNNING") in ("RUNNING", "SUSPENDED"):
        near = time_left(facts) <= warning_s + WARNING_EARLY_S
        if near:
            return Fate(leave=False, why="its time limit was near", state="TIMEOUT")
        return Fate(leave=False, why="it was asked to make way", state="PREEMPTED")
    return Fate(leave=True, why="")


def describe(job: str) -> str:
    """`scontrol show job`; empty where slurmctld does not answer in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            argv = ["scontrol", "show", "job", "--oneliner", job]
            answer = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            if answer.returncode == 0:
                return answer.stdout
        except (OSError, subprocess.TimeoutExpired):
            pass
        if time.monotonic() > deadline:
            return ""
        time.sleep(PAUSE_S)


def time_left(facts: dict[str, str]) -> float:
    """Seconds until the limit; endless where there is none, or where slurmctld did not answer."""
    limit, used = seconds(facts.get("TimeLimit", "")), seconds(facts.get("RunTime", ""))
    return float("inf") if limit is None or used is None else limit - used


def requeue(job: str) -> str:
    """Put the job back into the queue under its own id; why that failed, or nothing."""
    try:
        argv = ["scontrol", "requeue", job]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = f"{answer.stdout}{answer.stderr}".strip()
    return "" if answer.returncode == 0 or ALREADY in said else said
