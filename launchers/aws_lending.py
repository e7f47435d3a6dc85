"""What a rented machine may do in the account: its own profile's rights, or a session of ours that dies by itself.

The session travels through ssh's standard input into the environment of the supervisor there: it stands in no file,
here or there, and in no command line.
"""

from collections.abc import Mapping
from typing import Any

from runjob.launchers.aws_client import Clients, short_lived_session
from runjob.schemas.job_hardware import Aws

S3 = "s3://"


def lent_session(clients: Clients, values: Mapping[str, Any], settings: Aws) -> dict[str, str]:
    """Nothing, unless the job reads or writes S3 and no instance profile lets it."""
    if settings.instance_profile is not None or not names_s3(values):
        return {}
    return short_lived_session(clients, settings.max_hours)


def names_s3(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return any(map(names_s3, value.values()))
    if isinstance(value, list):
        return any(map(names_s3, value))
    return isinstance(value, str) and value.startswith(S3)
