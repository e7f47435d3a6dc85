"""What is asked of Amazon before and around a machine: key, group, image, the machine itself, and what it answers."""

import json
import re
import stat
import subprocess
import threading

import pytest

from runjob.launchers.aws import let_in_again
from runjob.launchers.aws_account import (
    Image,
    describe_kind,
    ensure_group,
    ensure_key,
    find_image,
    offered_zones,
)
from runjob.launchers.aws_client import connect, enabled_regions, short_lived_session
from runjob.launchers.aws_errors import CapacityError, QuotaError
from runjob.launchers.aws_instance import Order, end_machines, find_machines, look_at, rent, wait_for_address
from runjob.launchers.aws_keys import login_key, new_host_key
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir
from tests.cluster.ec2 import IMAGE, REGION, aws_settings
from tests.conftest import ROOT

TINY = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"
ADDRESS = {"from_address": "203.0.113.7/32"}


def order(aws, *, job="small-00000000", attempt=1, zones=("us-east-1a",), **changes) -> Order:
    settings = aws_settings(**{"instance": "m7i.large", "image": IMAGE, **ADDRESS, **changes})
    return Order(
        job=job,
        attempt=attempt,
        by="arn:me",
        home="laptop:/runs",
        settings=settings,
        image=Image(id=IMAGE, root_device="/dev/sda1"),
        key_name="runjob-key",
        group=aws.ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        zones=zones,
        user_data="#cloud-config\n{}\n",
    )


def test_a_type_is_described_by_amazon(aws):
    kind = describe_kind(connect(REGION), "g5.12xlarge")
    assert (kind.cores, kind.gpus, kind.architectures) == (48, ("NVIDIA A10G",) * 4, ("x86_64",))
    assert describe_kind(connect(REGION), "m7i.large").gpus == ()


def test_a_type_that_does_not_exist_is_refused_before_anything_is_rented(aws):
    with pytest.raises(MissingError, match=r"hardware\.aws\.instance: g5\.99xlarge is no instance type.*g5\.12xlarge"):
        describe_kind(connect(REGION), "g5.99xlarge")


def test_an_image_by_id_and_by_parameter(aws):
    clients = connect(REGION)
    kind = describe_kind(clients, "m7i.large")
    assert find_image(clients, aws_settings(image=IMAGE), kind) == Image(id=IMAGE, root_device="/dev/sda1")
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    assert find_image(clients, aws_settings(image=name), kind).id.startswith("ami-")


@pytest.mark.parametrize("image", ["ami-0123456789abcdef0", "/aws/service/no/such/parameter", None])
def test_an_image_that_is_not_there_is_named(aws, image):
    """moto has no public parameter of Canonical's, so the default is not there either."""
    clients = connect(REGION)
    with pytest.raises(MissingError, match=r"hardware\.aws\.image: \S+ does not exist in us-east-1"):
        find_image(clients, aws_settings(image=image), describe_kind(clients, "m7i.large"))


def test_an_image_for_another_processor_is_refused(aws):
    clients = connect(REGION)
    with pytest.raises(MissingError, match=r"is for x86_64, and m7g\.large is arm64"):
        find_image(clients, aws_settings(image=IMAGE), describe_kind(clients, "m7g.large"))


def test_the_key_is_made_once_here_and_only_its_public_half_travels(aws, tmp_path):
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(login_key(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    key = keys[0]
    assert all(one == key for one in keys)
    assert stat.S_IMODE(key.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.private.parent.stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == [".aws"]
    clients = connect(REGION)
    ensure_key(clients, key)
    ensure_key(clients, key)
    assert len(aws.door.calls("ImportKeyPair")) == 1
    (there,) = aws.ec2.describe_key_pairs(KeyNames=[key.name], IncludePublicKey=True)["KeyPairs"]
    assert there["PublicKey"].split()[1] == key.public.split()[1]
    private = key.private.read_text().splitlines()[1]
    assert not any(private in value for _, fields in aws.door.seen for value in fields.values())


def test_each_host_key_is_another(tmp_path):
    one, other = new_host_key(), new_host_key()
    assert one.public != other.public
    file = tmp_path / "host"
    file.write_text(one.private)
    file.chmod(0o600)
    said = subprocess.run(["ssh-keygen", "-y", "-f", file], capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == one.public.split()


def ingress(aws, group):
    (found,) = aws.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return [
        (rule["FromPort"], rule["ToPort"], [one["CidrIp"] for one in rule["IpRanges"]])
        for rule in found["IpPermissions"]
    ]


def test_only_the_callers_address_is_let_in_also_after_it_changed(aws, tmp_path):
    clients, key = connect(REGION), login_key(tmp_path)
    group = ensure_group(clients, aws_settings(**ADDRESS), key)
    assert ingress(aws, group) == [(22, 22, ["203.0.113.7/32"])]
    assert ensure_group(clients, aws_settings(**ADDRESS), key) == group
    assert len(aws.door.calls("AuthorizeSecurityGroupIngress")) == 1
    assert ensure_group(clients, aws_settings(from_address="198.51.100.9/32"), key) == group
    assert ingress(aws, group) == [(22, 22, ["198.51.100.9/32"])]
    open_to_all = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    aws.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=open_to_all)
    ensure_group(clients, aws_settings(from_address="198.51.100.9/32"), key)
    assert ingress(aws, group) == [(22, 22, ["198.51.100.9/32"])]


def test_the_address_is_asked_where_the_job_names_none(aws, tmp_path, monkeypatch, checkip):
    monkeypatch.setenv("RUNJOB_CHECKIP", checkip("192.0.2.33\n"))
    group = ensure_group(connect(REGION), aws_settings(), login_key(tmp_path))
    assert ingress(aws, group) == [(22, 22, ["192.0.2.33/32"])]
    for nonsense in ("<html>", "999.1.1.1"):
        monkeypatch.setenv("RUNJOB_CHECKIP", checkip(nonsense))
        with pytest.raises(LaunchError, match=r"--set hardware\.aws\.from_address="):
            ensure_group(connect(REGION), aws_settings(), login_key(tmp_path))


def test_a_laptop_that_comes_from_another_address_is_let_in_again(aws, tmp_path, monkeypatch, checkip):
    run = RunDir.create(tmp_path, "small")
    block = {"instance": "m7i.large", "max_hours": 2, "region": REGION}
    write_job_json(run.job, read_job(TINY, [f"hardware.aws={json.dumps(block)}"]))
    monkeypatch.setenv("RUNJOB_CHECKIP", checkip("192.0.2.33\n"))
    group = ensure_group(connect(REGION), aws_settings(), login_key(tmp_path))
    monkeypatch.setenv("RUNJOB_CHECKIP", checkip("198.51.100.9\n"))
    let_in_again(run, REGION)
    assert ingress(aws, group) == [(22, 22, ["198.51.100.9/32"])]


def test_a_machine_is_rented_as_it_must_be(aws):
    clients = connect(REGION)
    with pytest.raises(LaunchError, match="Instance profile trainer not found"):
        rent(clients, order(aws, instance_profile="trainer"), lambda text: None)
    clients.session.client("iam").create_instance_profile(InstanceProfileName="trainer")
    machine = rent(clients, order(aws, spot=True, instance_profile="trainer"), lambda text: None)
    assert (machine.job, machine.by, machine.home, machine.kind, machine.spot) == (
        "small-00000000",
        "arn:me",
        "laptop:/runs",
        "m7i.large",
        True,
    )
    _, asked = aws.door.calls("RunInstances")
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["MetadataOptions.HttpTokens"] == "required"
    assert asked["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"
    assert asked["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
    assert asked["IamInstanceProfile.Name"] == "trainer"
    running = wait_for_address(clients, machine, lambda: None)
    assert re.fullmatch(r"[0-9.]+", running.address)
    assert [one.id for one in find_machines(clients, job="small-00000000")] == [machine.id]
    assert find_machines(clients, job="small-00000001") == ()
    assert find_machines(clients, by="arn:somebody-else") == ()
    end_machines(clients, [machine.id, machine.id, "i-0123456789abcdef0"])
    assert find_machines(clients, job="small-00000000") == ()
    ended = look_at(clients, machine.id)
    assert ended is not None and ended.state == "terminated"


def test_a_request_that_is_sent_twice_is_one_machine(aws):
    clients = connect(REGION)
    asked = order(aws, job="twice-00000000")
    assert rent(clients, asked, lambda text: None).id == rent(clients, asked, lambda text: None).id
    assert len(aws.live()) == 1
    tokens = [call["ClientToken"] for call in aws.door.calls("RunInstances")]
    assert len(set(tokens)) == 1 and len(tokens[0]) <= 64


def test_no_capacity_in_one_zone_is_told_and_the_next_is_tried(aws):
    aws.door.refuse("RunInstances", "InsufficientInstanceCapacity", "none", when="us-east-1a")
    said: list[str] = []
    machine = rent(connect(REGION), order(aws, zones=("us-east-1a", "us-east-1b")), said.append)
    assert machine.zone == "us-east-1b"
    assert said == ["us-east-1a: none free now; trying us-east-1b"]


def test_no_capacity_anywhere_names_every_zone(aws):
    aws.door.refuse("RunInstances", "Unsupported", "not supported", when="us-east-1a")
    aws.door.refuse("RunInstances", "InsufficientInstanceCapacity", "none", when="us-east-1b")
    with pytest.raises(
        CapacityError, match=r"no m7i\.large is free: us-east-1a: has no such type; us-east-1b: none free"
    ):
        rent(connect(REGION), order(aws, zones=("us-east-1a", "us-east-1b")), lambda text: None)
    assert aws.live() == []


def test_a_quota_is_the_same_in_every_zone(aws):
    aws.door.refuse("RunInstances", "VcpuLimitExceeded", "You have requested more vCPU capacity than 0")
    with pytest.raises(QuotaError, match="VcpuLimitExceeded"):
        rent(connect(REGION), order(aws, zones=("us-east-1a", "us-east-1b")), lambda text: None)
    assert len(aws.door.calls("RunInstances")) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", "the credentials have expired: `aws sso login`"),
        ("InvalidClientTokenId", "the credentials are not valid: see AWS_ACCESS_KEY_ID"),
        ("AccessDenied", "docs/aws.md lists what runjob needs"),
    ],
)
def test_credentials_that_do_not_do_are_told_apart(aws, code, said):
    aws.door.refuse("GetCallerIdentity", code)
    with pytest.raises(MissingError, match=said):
        connect(REGION).caller()


def test_no_credentials_no_region_and_a_misspelt_region(aws, monkeypatch):
    with pytest.raises(MissingError, match=r"us-eats-1 is no region.*did you mean us-east-1\?"):
        connect("us-eats-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(MissingError, match=r"--set hardware\.aws\.region=us-east-1"):
        connect(None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(MissingError, match="no AWS credentials"):
        connect(REGION)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(MissingError, match=r"profile \(nobody\) could not be found"):
        connect(REGION)


def test_a_service_that_does_not_answer_is_no_hole_in_the_job(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(LaunchError, match="does not answer"):
        connect(REGION, quick=True).caller()


def test_what_the_machine_is_lent_dies_by_itself(aws, monkeypatch):
    lent = short_lived_session(connect(REGION), hours=100)
    assert lent["AWS_SESSION_TOKEN"] and "planted-secret" not in lent.values()
    assert aws.door.calls("GetSessionToken")[0]["DurationSeconds"] == "129600"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "short-lived")
    assert short_lived_session(connect(REGION), hours=1) == {
        "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_SESSION_TOKEN": "short-lived",
        "AWS_DEFAULT_REGION": REGION,
    }


def test_zones_and_regions_are_amazons_own(aws):
    assert "us-east-1a" in offered_zones(connect(REGION), "g5.12xlarge")
    assert {"us-east-1", "eu-west-1"} <= set(enabled_regions(connect(REGION)))
