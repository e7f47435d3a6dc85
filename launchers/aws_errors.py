"""What Amazon's API answers when it does not do what it was asked, in words a user can act on.

Three kinds matter to whoever rents: nothing free in this zone (the next zone may have one), a quota of the account (no
zone will), and everything else. Exit code 2 where something of the user's is missing or wrong, 1 where the service is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from runjob.schemas.errors import LaunchError, MissingError, RunjobError

# Another zone may have what this one lacks: none free, or a zone too old for the type.
NO_CAPACITY = frozenset(
    ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "SpotMaxPriceTooLow"]
)
NOT_IN_ZONE = frozenset(["Unsupported"])
# The account's own limits, the same in every zone of a region.
QUOTA = frozenset(["VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"])
EXPIRED = frozenset(["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"])
WRONG_KEY = frozenset(
    [
        "AuthFailure",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
    ]
)
FORBIDDEN = frozenset(["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"])


class CapacityError(LaunchError):
    """None free here and now; another zone may have one."""


class QuotaError(LaunchError):
    """The account may not have so many, in any zone of the region."""


class UnansweredError(LaunchError):
    """Nobody answered: what was asked for may have been done all the same."""


class AbsentError(LaunchError):
    """What was asked after does not exist (any more); `code` is Amazon's own word for it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def api(what: str, region: str) -> Iterator[None]:
    """Around a call: botocore's exceptions leave as ours, with what was asked and where."""
    import botocore.exceptions as amazon

    try:
        yield
    except amazon.ClientError as error:
        raise in_words(what, region, error.response["Error"]["Code"], error.response["Error"]["Message"]) from error
    except (amazon.NoCredentialsError, amazon.PartialCredentialsError, amazon.ProfileNotFound) as error:
        raise MissingError(f"AWS credentials: {error}; `aws configure` or `aws sso login` makes them") from error
    except (amazon.TokenRetrievalError, amazon.SSOError, amazon.CredentialRetrievalError) as error:
        raise MissingError(f"AWS credentials can't be had: {error}; type `aws sso login`") from error
    except (amazon.EndpointConnectionError, amazon.HTTPClientError, amazon.ConnectionError) as error:
        raise UnansweredError(f"{what}{in_region(region)}: the service does not answer: {error}") from error
    except amazon.BotoCoreError as error:
        raise LaunchError(f"{what}{in_region(region)}: {error}") from error


def in_words(what: str, region: str, code: str, message: str) -> RunjobError:
    said = f"{what}{in_region(region)}: {message} ({code})"
    if code in NO_CAPACITY or code in NOT_IN_ZONE:
        return CapacityError(said)
    if code in QUOTA:
        return QuotaError(said)
    if code in EXPIRED:
        return MissingError(
            f"{said}; the credentials have expired: `aws sso login`, or make new ones, and type it again"
        )
    if code in WRONG_KEY:
        return MissingError(f"{said}; the credentials are not valid: see AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws")
    if code in FORBIDDEN:
        return MissingError(f"{said}; the AWS user may not do this: docs/aws.md lists what runjob needs to be allowed")
    if code.endswith((".NotFound", "NotFound", ".Malformed")) or code in ("InvalidInstanceType", "ParameterNotFound"):
        return AbsentError(said, code)
    return LaunchError(said)


def in_region(region: str) -> str:
    return f" in {region}" if region else ""
