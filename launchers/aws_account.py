"""What the account must hold before a machine is rented: our key, a group that lets only this address in, an image.

Each is looked up by a name of ours and made only if it is not there, so a second call changes nothing.
"""

import ipaddress
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runjob.launchers.aws_client import Clients
from runjob.launchers.aws_errors import AbsentError, api
from runjob.launchers.aws_keys import LoginKey
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.job_hardware import Aws

RULE_KEYS = ("IpProtocol", "FromPort", "ToPort", "IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds")
# Amazon's own answer to "what is my address"; another is for networks that can't reach it, and for tests.
CHECKIP = "https://checkip.amazonaws.com"
CHECKIP_VARIABLE = "RUNJOB_CHECKIP"
CHECKIP_S = 10.0
SSH_PORT = 22
# Public parameters that name the newest image of a kind, kept by Amazon and by Canonical. 24.04: runjob needs Python
# 3.11, which earlier ones lack.
GPU_IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
CPU_IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An instance type as Amazon describes it."""

    name: str
    cores: int
    gpus: tuple[str, ...]
    memory_mib: int
    architectures: tuple[str, ...]
    processor: str


@dataclass(frozen=True, kw_only=True)
class Image:
    id: str
    root_device: str


def describe_kind(clients: Clients, name: str) -> Kind:
    """MissingError if there is no such type; whether this region has it is asked zone by zone when it is rented."""
    try:
        with api("ec2:DescribeInstanceTypes", clients.region):
            raw = clients.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
    except AbsentError as error:
        raise MissingError(
            f"hardware.aws.instance: {name} is no instance type that {clients.region} knows ({error.code}); "
            "an A10G machine is g5.xlarge (1 GPU) or g5.12xlarge (4)"
        ) from error
    gpus = tuple(f"{gpu['Manufacturer']} {gpu['Name']}" for gpu in gpus_of(raw) for _ in range(int(gpu["Count"])))
    maker = str(raw["ProcessorInfo"]["Manufacturer"]) if "Manufacturer" in raw["ProcessorInfo"] else ""
    return Kind(
        name=name,
        cores=int(raw["VCpuInfo"]["DefaultVCpus"]),
        gpus=gpus,
        memory_mib=int(raw["MemoryInfo"]["SizeInMiB"]),
        architectures=tuple(raw["ProcessorInfo"]["SupportedArchitectures"]),
        processor=f"AWS {name} {maker}".strip(),
    )


def gpus_of(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return raw["GpuInfo"]["Gpus"] if "GpuInfo" in raw else []


def find_image(clients: Clients, settings: Aws, kind: Kind) -> Image:
    """The image of the job, or the newest of the kind that fits the machine; it must exist and fit its processor."""
    wanted = settings.image or (GPU_IMAGE if kind.gpus else CPU_IMAGE)
    try:
        if wanted.startswith("/"):
            with api("ssm:GetParameter", clients.region):
                wanted = str(clients.ssm.get_parameter(Name=wanted)["Parameter"]["Value"])
        with api("ec2:DescribeImages", clients.region):
            raw = clients.ec2.describe_images(ImageIds=[wanted])["Images"][0]
    except AbsentError as error:
        raise MissingError(
            f"hardware.aws.image: {settings.image or wanted} does not exist in {clients.region} ({error.code}); "
            "an image has another id in each region, a parameter such as the default's one name in all: leave it out"
        ) from error
    except IndexError as error:
        raise MissingError(f"hardware.aws.image: {wanted} is not to be seen in {clients.region}") from error
    if raw["Architecture"] not in kind.architectures:
        raise MissingError(
            f"hardware.aws.image: {wanted} is for {raw['Architecture']}, and {kind.name} is "
            f"{' or '.join(kind.architectures)}; name another image or type"
        )
    return Image(id=wanted, root_device=str(raw["RootDeviceName"]))


def offered_zones(clients: Clients, kind: str) -> tuple[str, ...]:
    """Zones of the region that have this type at all."""
    with api("ec2:DescribeInstanceTypeOfferings", clients.region):
        found = clients.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [kind]}]
        )["InstanceTypeOfferings"]
    return tuple(sorted(offer["Location"] for offer in found))


def ensure_key(clients: Clients, key: LoginKey) -> None:
    """The public half, in this region. Its name holds its digest: what is there under the name is this key."""
    try:
        with api("ec2:DescribeKeyPairs", clients.region):
            clients.ec2.describe_key_pairs(KeyNames=[key.name])
    except AbsentError:
        with api("ec2:ImportKeyPair", clients.region):
            clients.ec2.import_key_pair(KeyName=key.name, PublicKeyMaterial=key.public.encode())


def own_address(settings: Aws) -> str:
    """The caller's address as a CIDR: the job's word, or asked of a service that only sees where we come from."""
    if settings.from_address is not None:
        return settings.from_address
    url = os.environ[CHECKIP_VARIABLE] if os.environ.get(CHECKIP_VARIABLE) else CHECKIP
    try:
        with urllib.request.urlopen(url, timeout=CHECKIP_S) as answer:
            text = answer.read(100).decode("ascii", errors="replace").strip()
        return f"{ipaddress.IPv4Address(text)}/32"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise LaunchError(
            f"{url} did not say from which address we come ({error}); name it: "
            "--set hardware.aws.from_address=203.0.113.7/32"
        ) from error


def ensure_group(clients: Clients, settings: Aws, key: LoginKey) -> str:
    """The security group that lets this address, and no other, speak to port 22. One for each key and network."""
    network = network_of(clients, settings)
    filters = [{"Name": "group-name", "Values": [key.name]}, {"Name": "vpc-id", "Values": [network]}]
    with api("ec2:DescribeSecurityGroups", clients.region):
        found = clients.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if found:
        group, there = str(found[0]["GroupId"]), found[0]["IpPermissions"]
    else:
        said = "runjob: ssh from the address of whoever rents"
        with api("ec2:CreateSecurityGroup", clients.region):
            made = clients.ec2.create_security_group(GroupName=key.name, Description=said, VpcId=network)
        group, there = str(made["GroupId"]), []
    let_only(clients, group, own_address(settings), there)
    return group


def let_only(clients: Clients, group: str, address: str, there: Sequence[Mapping[str, Any]]) -> None:
    """Rules for addresses of other days go; ours comes if it is not there."""
    kind, name = ("Ipv6Ranges", "CidrIpv6") if ":" in address else ("IpRanges", "CidrIp")
    wanted = {"IpProtocol": "tcp", "FromPort": SSH_PORT, "ToPort": SSH_PORT}
    ours = False
    for rule in there:
        allowed = [one[key] for key in ("CidrIp", "CidrIpv6") for one in ranges_of(rule) if key in one]
        if allowed == [address] and wanted.items() <= rule.items():
            ours = True
            continue
        stale = {key: rule[key] for key in RULE_KEYS if rule.get(key)}
        with api("ec2:RevokeSecurityGroupIngress", clients.region):
            clients.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[stale])
    if not ours:
        rule = {**wanted, kind: [{name: address, "Description": "runjob"}]}
        with api("ec2:AuthorizeSecurityGroupIngress", clients.region):
            clients.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def ranges_of(rule: Mapping[str, Any]) -> list[Mapping[str, str]]:
    return [one for key in ("IpRanges", "Ipv6Ranges") if key in rule for one in rule[key]]


def network_of(clients: Clients, settings: Aws) -> str:
    """The network of the subnet that the job names, else the account's default one."""
    if settings.subnet is not None:
        try:
            with api("ec2:DescribeSubnets", clients.region):
                return str(clients.ec2.describe_subnets(SubnetIds=[settings.subnet])["Subnets"][0]["VpcId"])
        except AbsentError as error:
            raise MissingError(f"hardware.aws.subnet: {error}") from error
    with api("ec2:DescribeVpcs", clients.region):
        found = clients.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not found:
        raise MissingError(
            f"hardware.aws.subnet: {clients.region} has no default network; name a subnet with public addresses"
        )
    return str(found[0]["VpcId"])
