"""Machines at Amazon: find ours by tag, rent one, wait for its address, end it.

Every machine carries the job's id as a tag from the first moment of its existence (the tag is part of the order), so
one that nobody waited for is still found. Looked up first, ordered second: a second call never rents a second machine.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runjob.launchers.aws_account import Image
from runjob.launchers.aws_client import Clients
from runjob.launchers.aws_errors import NOT_IN_ZONE, AbsentError, CapacityError, api
from runjob.launchers.base import Told
from runjob.schemas.errors import LaunchError
from runjob.schemas.job_hardware import Aws

JOB_TAG, BY_TAG, HOME_TAG = "runjob:id", "runjob:by", "runjob:home"
# States that cost money or may again; `shutting-down` and `terminated` are on their way out and free.
LIVE = ("pending", "running", "stopping", "stopped")
# EC2 shows what it has done a little later than it answers: seconds, by its documentation on eventual consistency.
SETTLE_S = 10.0
ADDRESS_PATIENCE_S = 300.0
POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Rented:
    """One machine of ours; `address` is empty before it has one and after its end, `reason` why it ended."""

    id: str
    state: str
    kind: str
    region: str
    zone: str
    address: str
    spot: bool
    launched: float
    job: str
    by: str
    home: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """Everything that RunInstances is told; `zones` in the order in which they are tried."""

    job: str
    attempt: int
    by: str
    home: str
    settings: Aws
    image: Image
    key_name: str
    group: str
    zones: tuple[str, ...]
    user_data: str


def find_machines(
    clients: Clients, *, job: str | None = None, by: str | None = None, live_only: bool = True
) -> tuple[Rented, ...]:
    """Machines that carry our tag, of this job or this caller where one is named; oldest first."""
    filters = [{"Name": f"tag:{JOB_TAG}", "Values": [job]} if job else {"Name": "tag-key", "Values": [JOB_TAG]}]
    filters += [{"Name": f"tag:{BY_TAG}", "Values": [by]}] if by else []
    filters += [{"Name": "instance-state-name", "Values": list(LIVE)}] if live_only else []
    with api("ec2:DescribeInstances", clients.region):
        pages = clients.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return tuple(sorted((read_machine(one, clients.region) for one in found), key=lambda one: one.launched))


def look_at(clients: Clients, machine: str) -> Rented | None:
    """A machine by its id, also for the hour in which EC2 remembers one that has ended; None when it has forgotten."""
    try:
        with api("ec2:DescribeInstances", clients.region):
            found = clients.ec2.describe_instances(InstanceIds=[machine])["Reservations"]
    except AbsentError:
        return None
    return read_machine(found[0]["Instances"][0], clients.region) if found else None


def read_machine(raw: Mapping[str, Any], region: str) -> Rented:
    tags = dict.fromkeys((JOB_TAG, BY_TAG, HOME_TAG), "")
    tags |= {tag["Key"]: tag["Value"] for tag in raw["Tags"]} if "Tags" in raw else {}
    said = [raw[key] for key in ("StateTransitionReason",) if raw.get(key)]
    said += [raw["StateReason"]["Message"]] if "StateReason" in raw and raw["StateReason"]["Message"] else []
    return Rented(
        id=raw["InstanceId"],
        state=raw["State"]["Name"],
        kind=raw["InstanceType"],
        region=region,
        zone=raw["Placement"]["AvailabilityZone"],
        address=raw["PublicIpAddress"] if raw.get("PublicIpAddress") else "",
        spot="InstanceLifecycle" in raw and raw["InstanceLifecycle"] == "spot",
        launched=raw["LaunchTime"].timestamp(),
        job=tags[JOB_TAG],
        by=tags[BY_TAG],
        home=tags[HOME_TAG],
        reason="; ".join(dict.fromkeys(said)),
    )


def rent(clients: Clients, order: Order, told: Told) -> Rented:
    """One machine, in the first zone that has it. CapacityError if none has, QuotaError if the account may not."""
    refused: list[str] = []
    for number, zone in enumerate(order.zones):
        try:
            with api(f"ec2:RunInstances of a {order.settings.instance}", zone or clients.region):
                raw = clients.ec2.run_instances(**request(order, zone))["Instances"][0]
            return read_machine(raw, clients.region)
        except CapacityError as error:
            refused.append(f"{zone}: {reason_of(error)}")
            following = order.zones[number + 1 : number + 2]
            told(f"{refused[-1]}" + (f"; trying {following[0]}" if following else ""))
    raise CapacityError(f"no {order.settings.instance} is free: " + "; ".join(refused))


def reason_of(error: CapacityError) -> str:
    text = str(error)
    return "has no such type" if any(f"({code})" in text for code in NOT_IN_ZONE) else "none free now"


def request(order: Order, zone: str) -> dict[str, Any]:
    """RunInstances' arguments. The token makes a request that was sent twice (a lost answer) one machine."""
    settings = order.settings
    tags = {JOB_TAG: order.job, BY_TAG: order.by, HOME_TAG: order.home, "Name": f"runjob {order.job}"}
    tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
    disk = {"VolumeSize": settings.disk_gib, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": True}
    spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    place: dict[str, Any] = {"SecurityGroupIds": [order.group]}
    if settings.subnet is not None:
        place["SubnetId"] = settings.subnet
    elif zone:
        place["Placement"] = {"AvailabilityZone": zone}
    return {
        "ImageId": order.image.id,
        "InstanceType": settings.instance,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": order.key_name,
        "UserData": order.user_data,
        "ClientToken": hashlib.sha256(f"{order.job} {order.attempt} {zone}".encode()).hexdigest()[:48],
        # What the watchdog's `shutdown` means
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": order.image.root_device, "Ebs": disk}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tagged} for kind in ("instance", "volume")],
        **place,
        **({"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": spot}} if settings.spot else {}),
        **({"IamInstanceProfile": {"Name": settings.instance_profile}} if settings.instance_profile else {}),
    }


def wait_for_address(clients: Clients, machine: Rented, check: Callable[[], None]) -> Rented:
    """Until it runs and has an address; `check` raises if whoever waits should not any longer."""
    deadline = time.monotonic() + ADDRESS_PATIENCE_S
    while True:
        check()
        seen = look_at(clients, machine.id)
        if seen is not None and seen.state == "running" and seen.address:
            return seen
        if seen is not None and seen.state not in LIVE:
            raise LaunchError(f"{machine.id} was ended while it started: {seen.reason or seen.state}")
        if time.monotonic() > deadline:
            raise LaunchError(
                f"{machine.id} in {machine.zone} has no public address after {ADDRESS_PATIENCE_S:.0f} s"
                + ("" if seen is None else f" (it is {seen.state})")
                + "; does its subnet give public addresses?"
            )
        time.sleep(POLL_S)


def end_machines(clients: Clients, machines: Sequence[str]) -> None:
    """Terminate; one that is gone already is what was wanted."""
    for machine in machines:
        try:
            with api("ec2:TerminateInstances", clients.region):
                clients.ec2.terminate_instances(InstanceIds=[machine])
        except AbsentError:
            continue
