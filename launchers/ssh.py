"""Any host that one can `ssh` to: no daemon, root, container or agent there.

A copy of the run goes over (staging.py), and the supervisor that runs jobs here runs them there, detached from the
connection that started it. Afterwards one round trip answers how the job is and brings what it wrote (ssh_mirror.py).
handle.json says how the copy is reached and who is sending it; it is written before anything is started there, so
whatever becomes of this process, the next look finds the job or says that it never started.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from runjob.launchers.base import Handle, Told, handle_before, read_handle, teller
from runjob.launchers.handover import hand_over, held_by
from runjob.launchers.local import LocalLauncher
from runjob.launchers.place import as_submitter, look_for, look_for_submitter, submitted_elsewhere, submitter_of
from runjob.launchers.shell import quote
from runjob.launchers.ssh_environment import Found, look_around, make_environment, survey_hosts, target_of
from runjob.launchers.ssh_fetch import fetch_run
from runjob.launchers.ssh_link import Link, NoCopyError
from runjob.launchers.ssh_mirror import away_since, bring_home
from runjob.launchers.ssh_nodes import helper_facts, start_all, stop, stop_helpers
from runjob.launchers.ssh_target import UnreachableError
from runjob.launchers.staging import stage, was_given_up
from runjob.schemas.errors import LaunchError, MissingError, RunjobError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Ssh
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job_json
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status

# A following process asks four times a second; the host is asked once in this time.
LOOK_EVERY_S = 1.0
# A host that did not answer is not asked again at once.
RETRY_AFTER_S = 5.0
NOTHING_LENT: Mapping[str, str] = {}


class SshLauncher:
    """One object serves a process: it remembers what it has just asked."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[float, Status]] = {}

    def survey(self, job: Job) -> Machine:
        return survey_hosts(job, block_of(job))

    def preview(self, job: Job, plan: Plan) -> str:
        block = block_of(job)
        lines = []
        for number, host in enumerate(block.host[: plan.resources.nodes]):
            words = [*target_of(block, host).ssh(), "--", host]
            lines.append(f"node {number}: {quote(words)}")
        lines.append(f"the run goes to {block.folder}/runs/<id>, its input files to {block.folder}/inputs/<key>")
        lines.append(f"Python: {block.python or f'an environment under {block.folder}/envs, made once'}")
        return "\n".join([*lines, *(f"setup: {line}" for line in block.setup)])

    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        block = block_of(read_job_json(run.job).job)
        return submit_over_ssh(run, plan, attempt, block, launcher="ssh", facts={})

    def state(self, run: RunDir) -> Status:
        status = run.read_status()
        if status.state not in ALIVE_STATES:
            return status
        handle = read_handle(run)
        if handle is None or handle.attempt != status.attempt:
            return status
        moment, seen = self._seen.get(run.path, (float("-inf"), status))
        wait = RETRY_AFTER_S if seen.state == "unreachable" else LOOK_EVERY_S
        if seen.attempt == status.attempt and time.monotonic() - moment < wait:
            return seen
        seen = self._look(run, handle, status)
        self._seen[run.path] = (time.monotonic(), seen)
        return seen

    def revisit(self, run: RunDir) -> Status:
        status, handle = run.read_status(), read_handle(run)
        if handle is None or not handle.facts or handle.attempt != status.attempt:
            return status
        return self._look(run, handle, status)

    def _look(self, run: RunDir, handle: Handle, status: Status) -> Status:
        if look_for_submitter(handle.facts) == "alive":
            return status
        try:
            there = bring_home(run, handle, Link.from_facts(handle.facts))
        except NoCopyError as error:
            return not_there(status, handle, str(error))
        except UnreachableError as error:
            return unreachable(status, away_since(run), str(error))
        except RunjobError as error:
            # refused: the key, the host's key, the configuration; the job goes on, and a human has something to mend
            return unreachable(status, away_since(run), str(error))
        if there.attempt < handle.attempt:
            return not_there(status, handle, "its copy there is of an earlier attempt")
        if there.attempt > handle.attempt:
            # resumed there by somebody who adopted it: the run is one, and this is where it goes on
            with held_by(run, handle) as ours:
                if ours:
                    dataclasses.replace(handle, attempt=there.attempt).write(run)
        if there.state not in ALIVE_STATES:
            stop_helpers(handle)
        return there

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        self.state(run)
        return LocalLauncher().logs(run, attempt)

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        """The wish stands here first: a host that is away hears of it with the first look that it answers."""
        attempt.request_stop("cancel")
        self._seen.pop(run.path, None)
        self.state(run)
        handle = read_handle(run)
        if handle is not None:
            stop_helpers(handle)

    def fetch(self, run: RunDir, *, told: Told) -> None:
        handle = read_handle(run)
        if handle is None or not handle.facts:
            raise LaunchError(f"{run.id}: nothing of it runs anywhere; there is nothing to fetch")
        block = read_job_json(run.job).job.hardware.ssh
        policy = block.checkpoints if block is not None else "newest"
        try:
            fetch_run(run, handle, Link.from_facts(handle.facts), policy=policy, told=told)
        except NoCopyError:
            if not submitter_of(handle.facts):
                raise
            told(f"{run.id}: nothing was started there yet; there is nothing to fetch")


def block_of(job: Job) -> Ssh:
    if job.hardware.ssh is None:
        raise MissingError("hardware.ssh: --launcher ssh needs a host; write `ssh: {host: NAME}` under hardware")
    return job.hardware.ssh


def submit_over_ssh(
    run: RunDir,
    plan: Plan,
    attempt: Attempt,
    block: Ssh,
    *,
    launcher: str,
    facts: Mapping[str, str | int],
    lent: Mapping[str, str] = NOTHING_LENT,
) -> Handle:
    """Handle first, then the environment, the copy, the start. `launcher` and `facts` are another's who has found the
    host in its own way; `lent` are variables for the job alone, which go there on standard input and into no file.
    StoppedError if it is cancelled meanwhile."""
    told = teller(run, attempt)
    hosts = block.host[: plan.resources.nodes]
    found = [look_around(target_of(block, host), block) for host in hosts]
    links = [link_to(one, block, run) for one in found]
    told(f"sending the run to {', '.join(hosts)}")
    where = {**links[0].facts(), **helper_facts(links[1:]), **facts}
    handle = Handle(launcher=launcher, attempt=attempt.number, facts={**where, **as_submitter()})
    hand_over(run, handle)
    goes_on_there = same_copy(handle_before(run, attempt), handle) and not was_given_up(attempt)
    for number, one in enumerate(found):
        make_environment(one, block, told=told)
        # Node 0 alone saves: the others get from home what they start from
        goes_on = goes_on_there and number == 0
        stage(run, attempt, one.place(block), goes_on_there=goes_on, inputs=block.data == "stage", told=told)
    told(f"starting on {', '.join(hosts)}")
    start_all(links, attempt, block, lent=lent)
    handle = dataclasses.replace(handle, facts=where)
    hand_over(run, handle)
    if attempt.stop_request.exists():
        # it came while the start was on its way, and perhaps nobody looks any more who would take it there
        stop(links, attempt.number)
    return handle


def link_to(found: Found, block: Ssh, run: RunDir) -> Link:
    return Link(
        target=found.target,
        root=found.root,
        path=f"{found.root}/runs/{run.id}",
        python=found.job_python,
        setup=block.setup,
        rsync=found.rsync,
    )


def same_copy(before: Handle | None, now: Handle) -> bool:
    """Did the attempt before run in the very copy that this one goes to?"""
    if before is None or (before.launcher, before.attempt) != (now.launcher, now.attempt - 1):
        return False
    return all(before.facts.get(name) == now.facts[name] for name in ("host", "path", "config_file"))


def not_there(status: Status, handle: Handle, why: str) -> Status:
    """The host answers and does not have this attempt: it was on its way, or has been removed."""
    sender = submitter_of(handle.facts)
    if sender and look_for(sender) == "elsewhere":
        return dataclasses.replace(status, state="unreachable", message=submitted_elsewhere(sender))
    if sender:
        why = f"its submission (pid {sender['pid']} on {sender['host']}) broke off before anything was started there"
    return dataclasses.replace(status, state="lost", message=why)


def unreachable(status: Status, since: float, why: str) -> Status:
    message = f"unreachable since {clock(since)} (last sign {clock(status.updated)}): {why}"
    return dataclasses.replace(status, state="unreachable", message=message)


def clock(moment: float) -> str:
    """Hour and minute; the day too where it is not of today."""
    day = "" if time.time() - moment < 86400 / 2 else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(moment))
