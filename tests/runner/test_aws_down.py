"""Whom `aws down ID` means."""

import dataclasses

import pytest

from runjob.launchers.aws_fleet import Fleet
from runjob.launchers.aws_instance import Rented
from runjob.runner.commands_aws import choose
from runjob.schemas.errors import JobError

FIRST = Rented(
    id="i-1",
    state="running",
    kind="m7i.large",
    region="us-east-1",
    zone="us-east-1a",
    address="",
    spot=False,
    launched=0.0,
    job="gpt2-aaaa0001",
    by="arn",
    home="laptop:/runs",
    reason="",
)
OTHER = dataclasses.replace(FIRST, id="i-2", job="gpt2-bbbb0002")
TWIN = dataclasses.replace(FIRST, id="i-3")
FLEET = Fleet(machines=(FIRST, OTHER, TWIN), regions=("us-east-1",), unheard=(), by="arn")


@pytest.mark.parametrize(
    ("words", "machines"),
    [
        (["gpt2-aaaa0001"], ["i-1", "i-3"]),
        (["gpt2-a"], ["i-1", "i-3"]),
        (["i-3"], ["i-3"]),
        (["i-3", "gpt2-b"], ["i-2", "i-3"]),
        (["canine"], []),
        ([""], []),
    ],
)
def test_a_machine_or_all_of_one_job_are_meant(words: list[str], machines: list[str]):
    assert [machine.id for machine in choose(FLEET, words)] == machines


def test_a_beginning_that_two_jobs_share_ends_neither():
    with pytest.raises(JobError, match="2 jobs begin so"):
        choose(FLEET, ["gpt2"])
