"""Which program of a run is started with which secret."""

from typing import get_args

import pytest

from runjob.schemas.plan import CompanionName, StageName
from runjob.schemas.secret_names import ALL, CLOUD, HUB, NEEDED, TRACKERS, environment_for

SECRETS = dict.fromkeys(ALL, "planted")


def test_every_program_of_a_plan_is_named():
    assert {*get_args(StageName), *get_args(CompanionName)} <= set(NEEDED)


@pytest.mark.parametrize(
    ("program", "kept"),
    [
        ("prepare", {*HUB, *CLOUD}),
        ("train", {*HUB, *TRACKERS, *CLOUD}),
        ("upload", {*CLOUD}),
        ("spot_notice", set()),
        ("ssh", {*CLOUD}),
        ("sbatch", set()),
    ],
)
def test_a_program_has_the_secrets_that_it_needs_and_everything_else(program: str, kept: set[str]):
    assert environment_for(program, {**SECRETS, "PATH": "/bin"}).keys() == {*kept, "PATH"}
