"""What --launcher aws says before anything is rented, and what `aws ls|down` say of what is. Nothing boots here."""

import json
import re
import time
from typing import Any

import pytest

from tests.cluster.ec2 import IMAGE, REGION, Amazon
from tests.conftest import ROOT, Runjob

# As launchers/aws_errors.py is told what is asked
RIGHT = re.compile(r"api\(f?\"((?:ec2|ssm|sts):[A-Za-z]+)")
TINY = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"
SETTINGS = {"instance": "m7i.large", "max_hours": 2, "region": REGION, "image": IMAGE, "from_address": "192.0.2.1/32"}


def block(**changes: Any) -> str:
    values = {**SETTINGS, **changes}
    return f"hardware.aws={json.dumps({key: value for key, value in values.items() if value != 'left out'})}"


def rent(aws: Amazon, job: str, *, by: str, kind: str = "m7i.large", region: str = REGION) -> str:
    """A machine as somebody's runjob left it."""
    import boto3

    client = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name=region).client(
        "ec2", endpoint_url=aws.door.behind
    )
    tags = {"runjob:id": job, "runjob:by": by, "runjob:home": "laptop:/runs"}
    tagged = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
    image = client.describe_images()["Images"][0]["ImageId"]
    made = client.run_instances(ImageId=image, InstanceType=kind, MinCount=1, MaxCount=1, TagSpecifications=tagged)
    return str(made["Instances"][0]["InstanceId"])


ME = "arn:aws:sts::123456789012:user/moto"


def test_the_plan_says_what_would_be_rented_for_how_long_and_at_what_price(runjob: Runjob) -> None:
    """Without a network and without credentials."""
    sets = block(instance="g5.12xlarge", max_hours=12, budget_usd=50, spot=True, image="left out")
    done = runjob("plan", TINY, "--launcher", "aws", "--set", sets, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert done.returncode == 0, done.stderr
    shown = done.stdout.partition("\n--launcher aws\n")[2].splitlines()
    said = {line[:12].strip(): line[13:] for line in shown}
    assert said["rents"] == "a spot machine, g5.12xlarge (48 cores, 4 x NVIDIA A10G), disk of 200 GiB"
    assert re.fullmatch(
        r"at most \$68\.06 = 12 h x \$5\.672 an hour \(us-east-1, table of \d{4}-\d\d-\d\d\); spot is mostly less, .*",
        said["cost"],
    )
    assert said["ends"] == "when all is home; by itself after 12 h, or 20 min without work"
    assert said["missing"].startswith("hardware.aws.budget_usd: 12 h of g5.12xlarge at $5.672")
    assert said["missing"].endswith("--set hardware.aws.max_hours=8.8 keeps it")


def test_the_plan_of_a_matrix_says_of_each_cell_how_long_it_would_train(runjob: Runjob) -> None:
    lengths = "matrix.training.length=[30 steps, 60 steps, 1 epochs]"
    words = [
        "plan",
        TINY,
        "--launcher",
        "aws",
        "--set",
        block(instance="g5.xlarge", tokens_per_s=1024),
        "--set",
        lengths,
    ]
    lines = runjob(*words).stdout.splitlines()
    assert [re.split(r"  +", line)[-1] for line in lines[:4]] == ["TIME", "about 1 min", "about 1 min", "unknown"]
    cells = json.loads(runjob(*words, "--json").stdout)["cells"]
    assert [cell["time"] for cell in cells] == ["about 1 min", "about 1 min", "unknown"]
    assert "TIME" not in runjob("plan", TINY, "--set", lengths).stdout


def test_the_plan_counts_the_gpus_of_the_rented_machine(runjob: Runjob) -> None:
    words = ["--set", "hardware.device=cuda", "--set", "hardware.gpus=all", "--set", "hardware.ranks=null"]
    words += ["--set", "hardware.threads=null", "--set", "training.global_batch=32"]
    for kind, expected in (("g5.xlarge", 1), ("g5.12xlarge", 4), ("g5.48xlarge", 8)):
        done = runjob("plan", TINY, "--json", "--launcher", "aws", "--set", block(instance=kind), *words)
        assert done.returncode == 0, done.stderr
        plan = json.loads(done.stdout)
        assert (plan["resources"]["gpus_per_node"], plan["batch"]["ranks"]) == (expected, expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"budget_usd": 0.1},
            [r"2 h of m7i\.large at \$0\.1008 .* up to \$0\.20, and the budget is \$0\.1; --set .*=0\.9"],
        ),
        (
            {"instance": "x2idn.16xlarge", "budget_usd": 100},
            [r"budget_usd: 100 can't be held: .* no price of x2idn\.16xlarge"],
        ),
        ({"instance": "m7i.huge"}, [r"hardware\.aws\.instance: m7i\.huge is no instance type"]),
        (
            {"image": "ami-0123456789abcdef0"},
            [r"hardware\.aws\.image: ami-0123456789abcdef0 does not exist in us-east-1"],
        ),
        (
            {"zones": ["us-east-1a", "us-east-1z"]},
            [r"hardware\.aws\.zones: us-east-1z has no m7i\.large; these have: us-"],
        ),
        ({"region": "us-eats-1"}, [r"us-eats-1 is no region that boto3 knows; did you mean us-east-1\?"]),
        (
            {"image": "ami-0123456789abcdef0", "budget_usd": 0, "zones": ["mars-1"]},
            [r"hardware\.aws\.image:", r"hardware\.aws\.zones:", r"hardware\.aws\.budget_usd:"],
        ),
    ],
    ids=["budget", "unknown price", "type", "image", "zone", "region", "all at once"],
)
def test_what_can_be_wrong_is_said_before_anything_is_rented(
    aws: Amazon, runjob: Runjob, changes: dict[str, Any], expected: list[str]
) -> None:
    done = runjob("--launcher", "aws", TINY, "--set", block(**changes), env=aws.env)
    assert done.returncode == 2, done.stdout + done.stderr
    for line in expected:
        assert re.search(line, done.stderr), done.stderr
    assert aws.door.calls("RunInstances") == []


def test_a_machine_that_must_end_before_the_job_is_not_rented(aws: Amazon, runjob: Runjob, home) -> None:
    """By the GPUs that Amazon says the type has: 5.7e16 operations take two hours of a T4 at its peak."""
    words = ["--set", "hardware.device=cuda", "--set", "hardware.gpus=all", "--set", "hardware.ranks=null"]
    words += [
        "--set",
        "training.length=10B tokens",
    ]
    sets = block(instance="g4dn.xlarge", max_hours=0.1)
    done = runjob("--launcher", "aws", TINY, *words, "--set", sets, "--detach", env=aws.env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"max_hours: 0\.1, and even at the full speed of 1 x NVIDIA T4, 8\.1 TFLOP/s", done.stderr)
    assert aws.door.calls("RunInstances") == []
    assert list(home.runs.glob("*-????????")) == []


@pytest.mark.parametrize(
    ("action", "code", "exit_code", "said"),
    [
        ("GetCallerIdentity", "ExpiredToken", 2, "the credentials have expired: `aws sso login`"),
        ("DescribeInstanceTypes", "UnauthorizedOperation", 2, "the AWS user may not do this: docs/aws.md lists"),
        (
            "RunInstances",
            "InsufficientInstanceCapacity",
            1,
            r"no m7i\.large is free: us-east-1a: none free now; us-east-1b: none free now; try "
            r"--set hardware\.aws\.instance=t3\.small, .*or later",
        ),
        (
            "RunInstances",
            "VcpuLimitExceeded",
            1,
            r"m7i\.large counts 2 vCPUs: ask for that many under Service Quotas, .* `Running On-Demand Standard",
        ),
    ],
)
def test_what_amazon_refuses_is_answered_with_what_to_type(
    aws: Amazon, runjob: Runjob, home, action: str, code: str, exit_code: int, said: str
) -> None:
    aws.door.refuse(action, code, "said the service")
    sets = block(zones=["us-east-1a", "us-east-1b"])
    done = runjob("--launcher", "aws", TINY, "--set", sets, env=aws.env)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert aws.live() == []
    tried = [call["Placement.AvailabilityZone"] for call in aws.door.calls("RunInstances")]
    assert tried == {
        "InsufficientInstanceCapacity": ["us-east-1a", "us-east-1b"],
        "VcpuLimitExceeded": ["us-east-1a"],
    }.get(code, [])
    states = [json.loads((path / "status.json").read_text())["state"] for path in home.runs.glob("*-????????")]
    assert states == (["failed"] if exit_code == 1 else [])


TRIED = {
    ("GetCallerIdentity", "ExpiredToken"): [],
    ("DescribeInstanceTypes", "UnauthorizedOperation"): [],
    ("RunInstances", "InsufficientInstanceCapacity"): ["us-east-1a", "us-east-1b"],
    ("RunInstances", "VcpuLimitExceeded"): ["us-east-1a"],
}


def test_ls_lists_what_is_mine_in_every_region_and_down_ends_it(aws: Amazon, runjob: Runjob) -> None:
    here = rent(aws, "one-00000000", by=ME)
    # they are listed as they were rented, and a launch is told to the second
    time.sleep(1.1)
    far = rent(aws, "two-00000000", by=ME, region="eu-west-1")
    other = rent(aws, "three-00000000", by="arn:aws:sts::123456789012:user/somebody")
    rows = json.loads(runjob("aws", "ls", "--json", env=aws.env).stdout)
    assert [(row["id"], row["region"]) for row in rows] == [(here, "us-east-1"), (far, "eu-west-1")]
    text = runjob("aws", "ls", "--region", REGION, env=aws.env).stdout.splitlines()
    assert text[0].split() == ["JOB", "MACHINE", "TYPE", "ZONE", "STATE", "HOURS", "USD", "SO", "FAR", "RENTED", "FROM"]
    assert text[1].split()[:3] == ["one-00000000", here, "m7i.large"] and len(text) == 2
    done = runjob("aws", "down", "--all", "--region", REGION, "--region", "eu-west-1", env=aws.env)
    assert done.returncode == 0 and set(re.findall(r"i-[0-9a-f]+", done.stdout)) == {here, far}
    assert [machine["InstanceId"] for machine in aws.live()] == [other]
    done = runjob("aws", "down", "three", "--region", REGION, env=aws.env)
    assert (done.returncode, done.stdout.partition(":")[0]) == (0, "nothing to end")
    done = runjob("aws", "down", "three", "--everyone", "--region", REGION, env=aws.env)
    assert done.returncode == 0 and aws.live() == []


def test_a_region_that_gives_no_answer_is_not_taken_for_an_empty_one(aws: Amazon, runjob: Runjob) -> None:
    here = rent(aws, "one-00000000", by=ME)
    aws.door.refuse("DescribeInstances", "RequestLimitExceeded", "slow down", where="eu-west-1")
    done = runjob("aws", "ls", "--region", REGION, "--region", "eu-west-1", env=aws.env)
    assert done.returncode == 1 and here in done.stdout
    assert "these regions gave no answer, machines there are not listed:\neu-west-1: " in done.stderr


def test_down_wants_to_be_told_what(aws: Amazon, runjob: Runjob) -> None:
    for words in ([], ["--all", "one"]):
        done = runjob("aws", "down", *words, env=aws.env)
        assert done.returncode == 2 and "name job ids or machines (i-...), or type --all" in done.stderr


def test_the_docs_list_every_right_that_is_needed() -> None:
    asked = {name for path in (ROOT / "launchers").glob("aws*.py") for name in RIGHT.findall(path.read_text())}
    listed = set(re.findall(r"`((?:ec2|ssm|sts|iam):\w+)`", (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")))
    # tags are part of the order, and a profile is passed with it
    assert asked | {"ec2:CreateTags", "iam:PassRole"} == listed
