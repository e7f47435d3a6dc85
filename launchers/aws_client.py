"""The door to Amazon's API: one session, one client a service and region. The only room that imports boto3.

Credentials and endpoints come by boto3's own ways (environment, ~/.aws, SSO, an instance's role) and are never written
down. What goes wrong behind this door is put into words by launchers/aws_errors.py.
"""

import difflib
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runjob.launchers.aws_errors import api
from runjob.schemas.errors import MissingError

# `status` must not hang on an API that does not answer; whoever rents has more patience.
QUICK_S = 3.0
PATIENT_S = 20.0
# A session makes clients for one thread at a time.
MAKING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Clients:
    """What one order to Amazon needs; boto3 makes its sessions and clients at run time, so they have no types. A client
    is made when it is first asked for: that takes longer than many a question."""

    region: str
    session: Any
    quick: bool

    @cached_property
    def ec2(self) -> Any:  # noqa: ANN401
        return self._client("ec2")

    @cached_property
    def ssm(self) -> Any:  # noqa: ANN401
        return self._client("ssm")

    @cached_property
    def sts(self) -> Any:  # noqa: ANN401
        return self._client("sts")

    def _client(self, service: str) -> Any:  # noqa: ANN401
        with MAKING, api("the credentials", self.region):
            return self.session.client(service, region_name=self.region, config=client_options(quick=self.quick))

    def caller(self) -> str:
        """Who asks, as Amazon names it (an ARN). Also the cheapest proof that the credentials are good."""
        with api("sts:GetCallerIdentity", self.region):
            return str(self.sts.get_caller_identity()["Arn"])

    def in_region(self, region: str) -> "Clients":
        """The same, of a region that Amazon has named."""
        return Clients(region=region, session=self.session, quick=True)


def connect(region: str | None, *, quick: bool = False) -> Clients:
    """Clients for this region, or for boto3's own where the job names none. MissingError says what is not there."""
    session = open_session()
    name = region or session.region_name
    if name is None:
        raise MissingError(
            "hardware.aws.region: no region is named, and neither AWS_DEFAULT_REGION nor ~/.aws/config names one; "
            "write e.g. --set hardware.aws.region=us-east-1 (`aws ls` and `down`: --region us-east-1)"
        )
    check_region(name, known_regions(session))
    with api("the credentials", name):
        if session.get_credentials() is None:
            raise MissingError(
                "no AWS credentials: neither the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE) nor ~/.aws nor a role "
                "holds any; `aws configure` or `aws sso login` makes them"
            )
    return Clients(region=name, session=session, quick=quick)


def known_regions(session: Any) -> list[str]:  # noqa: ANN401
    """Of Amazon's partitions too (China, GovCloud)."""
    partitions = session.get_available_partitions()
    return [name for partition in partitions for name in session.get_available_regions("ec2", partition)]


def open_session() -> Any:  # noqa: ANN401 - boto3 has no static types
    try:
        import boto3
    except ImportError as error:
        raise MissingError("--launcher aws needs the package boto3: pip install 'runjob[aws]'") from error
    with api("the profile", ""):
        return boto3.session.Session()


def client_options(*, quick: bool) -> Any:  # noqa: ANN401
    import botocore.config

    patience = QUICK_S if quick else PATIENT_S
    # One request and its retries carry one client token: a lost answer never rents twice.
    return botocore.config.Config(
        connect_timeout=patience,
        read_timeout=patience * 2,
        retries={"total_max_attempts": 1 if quick else 4, "mode": "standard"},
    )


def check_region(name: str, known: list[str]) -> None:
    """A misspelt region is a host name that does not resolve, minutes later; boto3 has the list."""
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
    raise MissingError(f"hardware.aws.region: {name} is no region that boto3 knows{hint}")


def enabled_regions(clients: Clients) -> tuple[str, ...]:
    """Every region that this account may use."""
    with api("ec2:DescribeRegions", clients.region):
        return tuple(sorted(region["RegionName"] for region in clients.ec2.describe_regions()["Regions"]))


def short_lived_session(clients: Clients, hours: float) -> dict[str, str]:
    """Credentials for the rented machine that die by themselves, as environment variables.

    A session that is short-lived already (SSO, a role) can't ask for another; it goes along as it is. Long-lived keys
    never leave this machine: they buy a session of at most 36 hours.
    """
    with api("sts:GetSessionToken", clients.region):
        here = clients.session.get_credentials().get_frozen_credentials()
        if here.token:
            return session_environment(here.access_key, here.secret_key, here.token, clients.region)
        seconds = int(min(max(hours * 3600, 900), 129_600))
        made = clients.sts.get_session_token(DurationSeconds=seconds)["Credentials"]
    return session_environment(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], clients.region)


def session_environment(key: str, secret: str, token: str, region: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": token,
        "AWS_DEFAULT_REGION": region,
    }
