"""Slurm, through submitit: a job is a Slurm job that comes back under its own number after each preemption.

What Slurm starts is launchers/slurm_node.py, from the code frozen in the run; submitit pickles one tuple of strings
for it, and nothing is ever unpickled here. The run lies where the nodes see it: the run directory itself, or a copy
under `hardware.slurm.folder` that news are brought home from. Its files say how it goes; where they are silent, Slurm.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runjob.launchers.base import Handle, Start, Told, read_handle, refuse_stopped, teller
from runjob.launchers.handover import held_by
from runjob.launchers.local import LocalLauncher
from runjob.launchers.place import as_submitter, look_for, look_for_submitter, submitted_elsewhere, submitter_of
from runjob.launchers.slurm_array import LOGS, Task, arrays_of, found_by, submit_array
from runjob.launchers.slurm_copy import bring_files, bring_news, stage_there
from runjob.launchers.slurm_queue import PATIENCE_S, WAITING, Queue, SlurmJob, SlurmSilentError
from runjob.launchers.slurm_submitit import hand_in, sbatch_text
from runjob.launchers.slurm_survey import survey
from runjob.launchers.slurm_text import (
    block_of,
    check_path,
    comment_of,
    for_slurm,
    parameters,
    quoted,
    setup_lines,
)
from runjob.launchers.slurm_verdict import clock, judge
from runjob.schemas.ended import PlaceWord
from runjob.schemas.errors import LaunchError, RunjobError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Hardware, Slurm
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job_json
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status, home
from runjob.schemas.secret_names import environment_for

# The supervisor writes status.json every 5 s: with a sign so fresh nobody need ask Slurm.
SIGN_S = 8.0


class SlurmLauncher:
    def __init__(self) -> None:
        self.queue = Queue()
        self._away_since: dict[Path, float] = {}

    def survey(self, job: Job) -> Machine:
        return survey(job)

    def preview(self, job: Job, plan: Plan) -> str:
        slurm = block_of(job.hardware)
        runs = Path(slurm.folder, "runs") if slurm.folder is not None else home()
        there = runs / f"{job.name}-XXXXXXXX"
        return sbatch_text(there / "slurm", slurm.python, order_of(str(there), 1, job.hardware, plan))

    def in_time(self, job: Job, plan: Plan, machine: Machine, *, done: int) -> tuple[str, ...]:
        held_back = sorted(os.environ.keys() - environment_for("sbatch", os.environ).keys())
        if not held_back:
            return ()
        said = f"{', '.join(held_back)}: not handed to Slurm, which would write it into its state and spool"
        return (f"{said}; a job that needs it reads it there: hardware.slurm.setup: ['. ~/my-tokens.sh']",)

    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        task = task_of(run, plan, attempt)
        handle = bring_there(task, {})
        slurm = block_of(task.hardware)
        told = order_of(str(task.there.path), attempt.number, task.hardware, task.plan)
        refuse_stopped(attempt)
        number = hand_in(task.there.path / "slurm", slurm.python, told, task.arguments)
        return self._settled(task, handle, number)

    def submit_together(self, name: str, starts: Sequence[Start]) -> None:
        tasks = [task_of(one.run, one.plan, one.attempt) for one in starts]
        for array in arrays_of(name, tasks):
            if len(array.tasks) == 1:  # which submitit makes no array of
                one = array.tasks[0]
                self.submit(one.run, one.plan, one.attempt)
                continue
            handles = [bring_there(task, array.facts(number)) for number, task in enumerate(array.tasks)]
            numbers = submit_array(array)
            for task, handle, number in zip(array.tasks, handles, numbers, strict=True):
                self._settled(task, handle, number)

    def _settled(self, task: Task, handle: Handle, number: str) -> Handle:
        handle = settle_handle(task.run, task.there, handle, number)
        self.queue.forget()  # what it said a moment ago it said without this job
        if task.attempt.stop_request.exists():
            self.cancel(task.run, task.attempt)
        return handle

    def state(self, run: RunDir) -> Status:
        stored = run.read_status()
        if stored.state not in ALIVE_STATES:
            return stored
        handle = self._handle(run)
        there = there_of(run, handle)
        if look_for_submitter(handle.facts) == "alive":
            return stored  # its copy is being made just now
        try:
            if not handle.facts["job"] and there.read_status().attempt < handle.attempt:
                return self._ask_slurm(run, there, handle, stored)  # what lies there is of an earlier attempt
            bring_news(run, there, handle)
            status = there.read_status()
        except (OSError, RunjobError) as error:
            if not handle.facts["job"]:  # there may never have been a copy
                return self._ask_slurm(run, there, handle, stored)
            return self._unreachable(run, stored, f"{there.path} can't be seen from here: {error}")
        if status.state not in ALIVE_STATES:
            return status
        if status.state == "running" and abs(time.time() - status.updated) < SIGN_S:
            return status
        return self._ask_slurm(run, there, handle, status)

    def _handle(self, run: RunDir) -> Handle:
        handle = read_handle(run)
        if handle is None:
            raise LaunchError(f"{run.id}: it was never handed to Slurm")
        return handle

    def _ask_slurm(self, run: RunDir, there: RunDir, handle: Handle, status: Status) -> Status:
        try:
            if not handle.facts["job"]:
                found = self.queue.named(*found_by(run, handle, comment_of(handle.attempt)))
                if found is None:
                    return unsubmitted(status, submitter_of(handle.facts))
                handle = settle_handle(run, there, handle, found.id)
            number = str(handle.facts["job"])
            job = self.queue.find(number)
        except SlurmSilentError as error:
            return self._unreachable(run, status, str(error))
        self._away_since.pop(run.path, None)
        # It may have ended, and written so, between our two looks.
        stored = there.read_status()
        if stored != status and (stored.state not in ALIVE_STATES or stored.state != "pending"):
            return stored
        attempt = there.attempt(stored.attempt)
        judged = judge(stored, attempt.read_exit(), job, number, str(there.path))
        if judged.state in ("cancelled", "failed", "preempted"):
            keep_last_words(run, there, handle, attempt.number, number, job)
            settle(run, there, handle, judged)
        return judged

    def _unreachable(self, run: RunDir, status: Status, why: str) -> Status:
        since = time.strftime("%H:%M:%S", time.localtime(self._away_since.setdefault(run.path, time.time())))
        message = f"unreachable since {since} (last sign {clock(status)}): {why}"
        return dataclasses.replace(status, state="unreachable", message=message)

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        with contextlib.suppress(OSError):
            handle = self._handle(run)
            if handle.facts["job"]:  # until it is submitted what lies there is of an earlier attempt
                bring_news(run, there_of(run, handle), handle)
        return LocalLauncher().logs(run, attempt)

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        attempt.request_stop("cancel")
        handle = self._handle(run)
        if look_for_submitter(handle.facts) == "alive":
            return  # who submits it hears of it between two steps
        there = there_of(run, handle)
        status = there.read_status()
        there.attempt(status.attempt).request_stop("cancel")
        self.queue.forget()  # a job that only now began to train must not be taken for one that still waits
        try:
            job = self.queue.find(str(handle.facts["job"])) if handle.facts["job"] else None
        except SlurmSilentError:
            return  # the request stands where the job will look before it does anything
        if job is not None and (status.state == "pending" or job.state in WAITING):
            # Written first: should Slurm start it at this very moment, it finds that it has nothing to do.
            message = "cancelled while it waited in Slurm's queue"
            settle(run, there, handle, dataclasses.replace(status, state="cancelled", message=message))
            scancel(job.id)

    def fetch(self, run: RunDir, *, told: Told) -> None:
        handle = self._handle(run)
        bring_files(run, there_of(run, handle), handle, told=told)


def task_of(run: RunDir, plan: Plan, attempt: Attempt) -> Task:
    """Where a run is to be, by its job; JobError for a path that Slurm can't take."""
    hardware = read_job_json(run.job).job.hardware
    slurm = block_of(hardware)
    there = run if slurm.folder is None else RunDir(Path(slurm.folder, "runs", run.id))
    check_path(str(there.path), "RUNJOB_HOME" if slurm.folder is None else "hardware.slurm.folder", slurm)
    return Task(run=run, there=there, attempt=attempt, hardware=hardware, plan=for_slurm(plan), places=cache_of(slurm))


def bring_there(task: Task, facts: Mapping[str, str | int]) -> Handle:
    """The run where the nodes see it, and its handle as long as Slurm has not answered."""
    # Before anything is started: whoever finds a submission that broke off knows where to look.
    known = {"job": "", "run": str(task.there.path), **facts, **as_submitter()}
    handle = Handle(launcher="slurm", attempt=task.attempt.number, facts=known)
    handle.write(task.run)
    task.plan.write(task.run)
    slurm = block_of(task.hardware)
    if slurm.folder is not None:
        stage_there(task.run, task.attempt, slurm.folder, told=teller(task.run, task.attempt))
        handle.write(task.there)
    return handle


def there_of(run: RunDir, handle: Handle) -> RunDir:
    """The run where the nodes see it; the run directory itself where they share it."""
    return RunDir(Path(str(handle.facts["run"])))


def order_of(run: str, attempt: int, hardware: Hardware, plan: Plan) -> dict[str, Any]:
    """All that submitit is told."""
    slurm = block_of(hardware)
    setup = setup_lines(slurm, quoted(run), cache_of(slurm))
    return {**parameters(run, attempt, hardware, plan), "setup": setup}


def cache_of(slurm: Slurm) -> dict[str, str]:
    """A copy's prepared data lie beside it; a run in place uses the cache that its submitter does."""
    if slurm.folder is not None:
        return {"RUNJOB_CACHE": f"{slurm.folder}/cache"}
    named = os.environ.get("RUNJOB_CACHE")
    return {"RUNJOB_CACHE": str(Path(named).absolute())} if named else {}


def settle_handle(run: RunDir, there: RunDir, handle: Handle, number: str) -> Handle:
    """From now on the job has a number, and who submitted it does not matter."""
    kept = {name: handle.facts[name] for name in ("run", LOGS) if name in handle.facts}
    settled = dataclasses.replace(handle, facts={"job": number, **kept})
    with held_by(run, handle) as ours:
        if ours:
            settled.write(run)
            if there.path != run.path:
                settled.write(there)
    return settled


def unsubmitted(status: Status, submitter: Mapping[str, str | int]) -> Status:
    """Slurm does not know it, and nobody is handing it over any more, as far as can be seen from here."""
    if look_for(submitter) == "elsewhere":
        return dataclasses.replace(status, state="unreachable", message=submitted_elsewhere(submitter))
    message = f"its submission broke off at {clock(status)}, before Slurm had it: nothing runs"
    return dataclasses.replace(status, state="lost", message=message)


def keep_last_words(
    run: RunDir, there: RunDir, handle: Handle, attempt: int, number: str, job: SlurmJob | None
) -> None:
    """Of a job that never came to write logs of its own only Slurm's knows why, and Slurm itself, for a while; `why`
    looks into the attempt."""
    folder = Path(str(handle.facts[LOGS])) if LOGS in handle.facts else there.path / "slurm"
    log = folder / f"{number}_0_log.out"
    for one in {there.path: there, run.path: run}.values():
        if log.exists():
            shutil.copyfile(log, one.attempt(attempt).launcher_log)
        if job is not None and one.attempt(attempt).path.is_dir():
            PlaceWord(launcher="slurm", state=job.state, reason=job.reason).write(one.attempt(attempt).place_word)


def settle(run: RunDir, there: RunDir, handle: Handle, status: Status) -> None:
    """Slurm has ended a job that could not write so itself any more; soon Slurm will have forgotten it."""
    with held_by(run, handle) as ours:
        for one in {there.path: there, run.path: run}.values() if ours else ():
            one.write_status(status.state, attempt=status.attempt, message=status.message)


def scancel(number: str) -> None:
    """Best effort: a job that Slurm could not be asked to forget finds that it is cancelled as soon as it starts."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["scancel", number], capture_output=True, timeout=PATIENCE_S, check=False)
