"""A machine that is rented for the job: rent, wait, then exactly the SSH launcher; ended when all of it is home.

What costs money is looked up by its tag before anything is ordered, is written down before it is done, and ends by
itself (launchers/aws_watchdog.py) whatever becomes of the laptop. Who looks at a job whose submission was killed ends
the machine that nobody waits for any more.
"""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

from runjob.launchers import aws_preview
from runjob.launchers.aws_account import ensure_group
from runjob.launchers.aws_books import end_all, ended_text, give_up, read_rented, record_end, rented_by
from runjob.launchers.aws_client import connect
from runjob.launchers.aws_instance import LIVE, SETTLE_S, Rented, end_machines, look_at
from runjob.launchers.aws_keys import login_key
from runjob.launchers.aws_lending import lent_session
from runjob.launchers.aws_rental import Rental, machine_facts
from runjob.launchers.aws_survey import settings_of, survey
from runjob.launchers.aws_time import expected_time
from runjob.launchers.base import Handle, StoppedError, Told, read_handle
from runjob.launchers.local import LocalLauncher, never_started
from runjob.launchers.place import look_for_submitter, submitter_of
from runjob.launchers.spot_notice import spot_companion
from runjob.launchers.ssh import SshLauncher, submit_over_ssh
from runjob.launchers.ssh_fetch import fetch_run
from runjob.launchers.ssh_link import Link
from runjob.schemas.errors import LaunchError, MissingError, RunjobError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Aws
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job_json
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status

# Amazon is asked about a machine that does not answer, and not more often than this.
ASK_EVERY_S = 5.0
# and told less often from where we come now
LET_IN_EVERY_S = 30.0
TAKEN_BACK = "Server.SpotInstance"


class AwsLauncher:
    """One object serves a process: it remembers what it has just asked."""

    def __init__(self) -> None:
        self._ssh = SshLauncher()
        self._asked: dict[Path, tuple[float, Rented | None]] = {}
        self._let_in_at: dict[Path, float] = {}

    def survey(self, job: Job) -> Machine:
        return survey(job)

    def preview(self, job: Job, plan: Plan) -> str:
        return aws_preview.preview(job, plan)

    def foresee(self, job: Job) -> Machine | None:
        return aws_preview.foreseen_machine(job)

    def training_time(self, job: Job, plan: Plan) -> str:
        return expected_time(job, plan, aws_preview.foreseen_machine(job), done=0).short

    def in_time(self, job: Job, plan: Plan, machine: Machine, *, done: int) -> tuple[str, ...]:
        settings = job.hardware.aws
        if settings is None:
            return ()
        never, hardly = aws_preview.in_time(job, settings, expected_time(job, plan, machine, done=done))
        if never:
            raise MissingError(never)
        return (hardly,) if hardly else ()

    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        settings = settings_of(run)
        clients = connect(settings.region)
        rental = Rental(run=run, attempt=attempt, settings=settings, clients=clients, by=clients.caller())
        try:
            plan = with_spot_watch(run, plan, settings)
            machine, ssh = rental.machine()
            facts = {"phase": "running", "region": clients.region, **machine_facts(machine)}
            lent = lent_session(clients, read_job_json(run.job).values, settings)
            return submit_over_ssh(run, plan, attempt, ssh, launcher="aws", facts=facts, lent=lent)
        except StoppedError as error:
            raise StoppedError(f"{error}{give_up(clients, run)}") from error
        except KeyboardInterrupt:
            said = give_up(clients, run)
            run.write_status("cancelled", attempt=attempt.number, message=f"interrupted before it started{said}")
            raise
        except (RunjobError, OSError) as error:
            kind = MissingError if isinstance(error, MissingError) else LaunchError
            raise kind(f"{error}{give_up(clients, run)}") from error
        except BaseException as error:
            # A mistake of ours, too, must not leave a machine that costs money with nobody who waits for it.
            said = give_up(clients, run)
            run.write_status("failed", attempt=attempt.number, message=f"{type(error).__name__}: {error}{said}")
            raise

    def state(self, run: RunDir) -> Status:
        status = run.read_status()
        if status.state not in ALIVE_STATES:
            return status
        handle = read_handle(run)
        if handle is None or handle.attempt != status.attempt or not handle.facts:
            return never_started(status)
        if handle.facts["phase"] != "running":
            return self._submission(run, status, handle)
        seen = self._ssh.state(run)
        if seen.state == "lost" and look_for_submitter(handle.facts) == "dead":
            return self._submission(run, status, handle)
        if seen.state in ("unreachable", "lost"):
            return self._as_amazon_says(run, seen, handle)
        return seen

    def _submission(self, run: RunDir, status: Status, handle: Handle) -> Status:
        """Somebody is preparing a machine; or was, and then what it rented is ended here and now."""
        presence = look_for_submitter(handle.facts)
        if presence == "alive":
            return status
        if presence == "elsewhere":
            message = f"being submitted by another machine ({submitter_of(handle.facts)['host']}): {status.message}"
            return replace(status, message=message)
        try:
            clients = connect(str(handle.facts["region"]), quick=True)
            ended = end_all(clients, run)
        except RunjobError as error:
            said = f"whether a machine is rented is not known ({error}); `runjob aws down {run.id}` ends it"
        else:
            if not ended and time.time() - status.updated < SETTLE_S and not rented_by(run, status.attempt):
                return replace(status, message="its submission was killed; looking whether a machine was rented")
            names = ended or rented_by(run, status.attempt)
            said = f"{', '.join(names)}, rented for it, was ended" if names else "no machine is rented"
        message = f"its submission was killed ({status.message}); {said}"
        return replace(status, state="lost", message=message)

    def _as_amazon_says(self, run: RunDir, seen: Status, handle: Handle) -> Status:
        machine_id = str(handle.facts["machine"])
        try:
            machine = self._ask(run, str(handle.facts["region"]), machine_id)
        except RunjobError as error:
            return replace(seen, message=f"{seen.message}; Amazon can't be asked either: {error}")
        if machine is None or machine.state not in LIVE[:2]:
            record_end(run, machine_id)
            why = "Amazon has forgotten it" if machine is None else machine.reason or machine.state
            what = "spot machine, taken back" if machine and is_taken_back(machine) else "ended from outside"
            message = f"the machine {machine_id} is gone ({what}: {why}); what it had not brought home is lost"
            return replace(seen, state="lost", message=message)
        if seen.state == "lost":
            return replace(seen, message=f"{seen.message}; {machine_id} is still rented: runjob aws down {run.id}")
        self._let_in(run, str(handle.facts["region"]))
        return replace(seen, message=f"{seen.message}; {machine_id} is {machine.state}, says Amazon")

    def _let_in(self, run: RunDir, region: str) -> None:
        """A machine that runs and does not answer may let in the address only that we had when it was rented."""
        if time.monotonic() - self._let_in_at.get(run.path, float("-inf")) >= LET_IN_EVERY_S:
            self._let_in_at[run.path] = time.monotonic()
            with contextlib.suppress(RunjobError, OSError):
                let_in_again(run, region)

    def _ask(self, run: RunDir, region: str, machine: str) -> Rented | None:
        moment, known = self._asked.get(run.path, (float("-inf"), None))
        if time.monotonic() - moment >= ASK_EVERY_S:
            known = look_at(connect(region, quick=True), machine)
            self._asked[run.path] = (time.monotonic(), known)
        return known

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        handle = read_handle(run)
        if handle is not None and handle.facts and handle.facts["phase"] == "running":
            return self._ssh.logs(run, attempt)
        return LocalLauncher().logs(run, attempt)

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        """One that is being prepared stops between two steps; where nobody prepares it any more it is settled here."""
        attempt.request_stop("cancel")
        handle = read_handle(run)
        if handle is None or not handle.facts:
            return
        if handle.facts["phase"] == "running" and self.state(run).state != "lost":
            self._ssh.cancel(run, attempt)
        elif look_for_submitter(handle.facts) == "dead":
            said = give_up(connect(str(handle.facts["region"])), run)
            run.write_status("cancelled", attempt=attempt.number, message=f"cancelled before it started{said}")

    def fetch(self, run: RunDir, *, told: Told) -> None:
        """Everything home; and when the job has ended there, the machine is ended too, unless the job keeps it."""
        handle = read_handle(run)
        if handle is None or not handle.facts or handle.facts["phase"] != "running":
            return
        machine, settings = str(handle.facts["machine"]), settings_of(run)
        try:
            fetch_run(run, handle, Link.from_facts(handle.facts), policy=settings.checkpoints, told=told)
        except RunjobError:
            self._asked.pop(run.path, None)
            there = self._ask(run, str(handle.facts["region"]), machine)
            if there is not None and there.state in LIVE[:2]:
                raise
            told(f"the machine {machine} is gone; what is here is what there is")
            record_end(run, machine)
            return
        if self.state(run).state in (*ALIVE_STATES, "unreachable") or settings.keep:
            return
        end_machines(connect(str(handle.facts["region"])), [machine])
        record_end(run, machine)
        told(ended_text(run, machine))

    def gone_when(self, run: RunDir) -> str:
        return f"its machine has had nothing to do for {settings_of(run).idle_minutes} min, and ends itself"

    def goes_on(self, run: RunDir, status: Status) -> str:
        """Why the next attempt begins by itself: a spot machine was taken back. Empty where it does not."""
        settings = settings_of(run)
        lines = read_rented(run)
        if not settings.spot or not lines or not lines[-1]["spot"]:
            return ""
        taken = (status.state == "preempted" and "spot" in status.message) or (
            status.state == "lost" and "spot machine, taken back" in status.message
        )
        before = sum(1 for line in lines if line["spot"]) - 1
        if not taken or before >= settings.spot_retries:
            return ""
        most = settings.spot_retries
        return f"spot machine {before + 1} was taken back; renting the next (hardware.aws.spot_retries: {most})"


def with_spot_watch(run: RunDir, plan: Plan, settings: Aws) -> Plan:
    """On a spot machine the plan gets a companion that turns Amazon's notice into a request to save and stop."""
    others = tuple(one for one in plan.companions if one.name != spot_companion().name)
    plan = replace(plan, companions=(*others, spot_companion()) if settings.spot else others)
    plan.write(run)
    return plan


def let_in_again(run: RunDir, region: str) -> None:
    """Our address of today, where the job leaves it to us to find out."""
    settings = settings_of(run)
    if settings.from_address is None:
        ensure_group(connect(region, quick=True), settings, login_key(run.path.parent))


def is_taken_back(machine: Rented) -> bool:
    return machine.spot and (TAKEN_BACK in machine.reason or "Spot" in machine.reason)
