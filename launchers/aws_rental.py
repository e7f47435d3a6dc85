"""From a job to a machine that answers over ssh: found by its tag, or rented; written down before each step.

handle.json says what is going on before it is done, so a command that is killed at any instant leaves a machine that
the next look finds by its tag.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runjob.launchers.aws_account import describe_kind, ensure_group, ensure_key, find_image, offered_zones
from runjob.launchers.aws_books import record, spent
from runjob.launchers.aws_client import Clients
from runjob.launchers.aws_errors import CapacityError, QuotaError, UnansweredError
from runjob.launchers.aws_instance import (
    LIVE,
    SETTLE_S,
    Order,
    Rented,
    end_machines,
    find_machines,
    rent,
    wait_for_address,
)
from runjob.launchers.aws_keys import LoginKey, login_key, new_host_key
from runjob.launchers.aws_login import expect_host, write_login
from runjob.launchers.aws_prices import cost_of, over_budget
from runjob.launchers.aws_survey import no_zone, other_types
from runjob.launchers.aws_user_data import user_data
from runjob.launchers.base import Handle, refuse_stopped
from runjob.launchers.place import as_submitter
from runjob.launchers.ssh_target import SshTarget, UnreachableError
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.job_hardware import Aws, Ssh
from runjob.schemas.run import Attempt, RunDir

# From the order to a login: half a minute to two minutes, on images that install drivers at their first start five.
BOOT_S = 600.0
ANSWER_S = 10.0
POLL_S = 2.0
FIRST_START = "! command -v cloud-init >/dev/null || cloud-init status --wait >/dev/null 2>&1 || :"


@dataclass(frozen=True, kw_only=True)
class Rental:
    """One submission: who orders what for which attempt."""

    run: RunDir
    attempt: Attempt
    settings: Aws
    clients: Clients
    by: str

    def machine(self) -> tuple[Rented, Ssh]:
        """A machine of this job that lets us log in: the one that is there, or a new one."""
        key = login_key(self.run.path.parent)
        self.note("looking", None, f"looking for a machine of {self.run.id} in {self.clients.region}")
        machine = self.one_that_is_there(key)
        if machine is None:
            machine = self.new_one(key)
        self.note("waiting", machine, f"{machine.kind} {machine.id} in {machine.zone}: waiting for its address")
        machine = wait_for_address(self.clients, machine, self.check_stop)
        self.note("waiting", machine, f"{machine.id} at {machine.address}: waiting for its first start to end")
        ssh = write_login(self.run, self.settings, key, machine.address)
        target = SshTarget(host=machine.address, config_file=ssh.config_file)
        wait_for_login(target, machine, self.check_stop)
        # sshd answers before the packages are there. Whether all went well is seen by what is looked for next.
        target.run(["sh", "-c", FIRST_START], timeout_s=BOOT_S)
        return machine, ssh

    def one_that_is_there(self, key: LoginKey) -> Rented | None:
        """By its tag, never by what we remember. One that can't be used (another type, no key to know it by, being
        stopped) is ended: two machines for one job is one too many."""
        there = find_machines(self.clients, job=self.run.id)
        known = (self.run.aws / "known_hosts").exists()
        fit = [one for one in there if known and one.kind == self.settings.instance and one.state in LIVE[:2]]
        fit = [one for one in fit if one.home == home_tag(self.run.path.parent)]
        end_machines(self.clients, [one.id for one in there if one not in fit[-1:]])
        return fit[-1] if fit else None

    def new_one(self, key: LoginKey) -> Rented:
        settings, clients = self.settings, self.clients
        problem = over_budget(settings, cost_of(settings, clients.region), spent(self.run))
        if problem:
            raise MissingError(problem)
        kind = describe_kind(clients, settings.instance)
        image = find_image(clients, settings, kind)
        zones = ("",) if settings.subnet is not None else settings.zones or offered_zones(clients, settings.instance)
        if not zones:
            raise MissingError(no_zone(settings, clients.region))
        ensure_key(clients, key)
        group = ensure_group(clients, settings, key)
        host_key = new_host_key()
        expect_host(self.run, host_key.public)
        order = Order(
            job=self.run.id,
            attempt=self.attempt.number,
            by=self.by,
            home=home_tag(self.run.path.parent),
            settings=settings,
            image=image,
            key_name=key.name,
            group=group,
            zones=zones,
            user_data=user_data(settings, host_key),
        )
        self.check_stop()
        self.note("renting", None, f"renting a {settings.instance} in {clients.region}")
        try:
            machine = rent(clients, order, lambda text: self.note("renting", None, text))
        except CapacityError as error:
            raise LaunchError(f"{error}{other_types(settings)}") from error
        except QuotaError as error:
            raise LaunchError(f"{error}{ask_for_quota(settings, kind.cores, clients.region)}") from error
        except (UnansweredError, KeyboardInterrupt):
            # The order may have been heard. Whoever gives up now ends what is seen, so it has to be seen first.
            self.wait_until_seen()
            raise
        record(self.run, self.attempt.number, machine)
        return machine

    def wait_until_seen(self) -> None:
        """As long as Amazon may take to show what it has done."""
        deadline = time.monotonic() + SETTLE_S
        while not find_machines(self.clients, job=self.run.id) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def note(self, phase: str, machine: Rented | None, said: str) -> None:
        """What is about to be done, for whoever looks: handle.json first, then the sentence."""
        facts = {"phase": phase, "region": self.clients.region, **machine_facts(machine), "since": int(time.time())}
        facts |= as_submitter()
        Handle(launcher="aws", attempt=self.attempt.number, facts=facts).write(self.run)
        self.say(said)

    def say(self, text: str) -> None:
        self.run.write_status("pending", attempt=self.attempt.number, message=text)

    def check_stop(self) -> None:
        refuse_stopped(self.attempt)


def machine_facts(machine: Rented | None) -> dict[str, str | int]:
    if machine is None:
        return {"machine": "", "kind": "", "zone": "", "spot": 0}
    return {"machine": machine.id, "kind": machine.kind, "zone": machine.zone, "spot": int(machine.spot)}


def home_tag(home: Path) -> str:
    """Which RUNJOB_HOME a machine belongs to; a tag holds 256 letters."""
    return f"{socket.gethostname()}:{home}"[-256:]


def wait_for_login(target: SshTarget, machine: Rented, check: Callable[[], None]) -> None:
    """Until sshd there answers with the key that we gave it. While the first start is going on it answers with none or
    with another: only when patience ends is that an error."""
    deadline = time.monotonic() + BOOT_S
    while True:
        check()
        try:
            if target.run(["true"], timeout_s=ANSWER_S).code == 0:
                return
            said = "the login shell there fails"
        except (UnreachableError, MissingError) as error:
            said = str(error)
        if time.monotonic() > deadline:
            raise LaunchError(
                f"{machine.id} does not let us log in after {BOOT_S:.0f} s: {said}; is hardware.aws.user the image's "
                "user, and is cloud-init in the image?"
            )
        time.sleep(POLL_S)


def ask_for_quota(settings: Aws, cores: int, region: str) -> str:
    families = {"p": "P", "g": "G and VT"}
    family = families.get(settings.instance[0], "Standard")
    kind = f"All {family} Spot Instance Requests" if settings.spot else f"Running On-Demand {family} instances"
    return (
        f"; {settings.instance} counts {cores} vCPUs: ask for that many under Service Quotas, Amazon EC2, `{kind}` in "
        f"{region}, or take a smaller type or another region"
    )
