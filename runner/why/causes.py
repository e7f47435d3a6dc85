"""From an error's types and errno to the class of a failure; its message is never read."""

from collections.abc import Sequence

from runjob.runner.why.classes import Class
from runjob.schemas.causes import Cause

ERRNOS: dict[str, Class] = {
    **dict.fromkeys(("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE"), "disk"),
    "ENOMEM": "memory",
    **dict.fromkeys(
        ("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN"),
        "network",
    ),
    "ETIMEDOUT": "network",
}

ERRORS = "runjob.schemas.errors"
# By the most special type first: an error's own, then those that it descends from.
TYPES: dict[str, Class] = {
    f"{ERRORS}.MemoryShortError": "memory",
    f"{ERRORS}.NumericsError": "numerics",
    f"{ERRORS}.HungError": "hung",
    f"{ERRORS}.DataError": "data",
    f"{ERRORS}.CheckpointError": "checkpoint",
    f"{ERRORS}.NoRoomError": "disk",
    f"{ERRORS}.JobError": "configuration",
    f"{ERRORS}.MissingError": "configuration",
    f"{ERRORS}.StateError": "configuration",
    "runjob.launchers.ssh_target.UnreachableError": "network",
    "runjob.launchers.slurm_queue.SlurmSilentError": "network",
    "runjob.launchers.aws_errors.UnansweredError": "network",
    "builtins.MemoryError": "memory",
    "torch.OutOfMemoryError": "memory",
    "builtins.ImportError": "import",
    # The Hub was not asked, because the environment says so: nothing is wrong with the network
    "huggingface_hub.errors.OfflineModeIsEnabled": "configuration",
    "builtins.ConnectionError": "network",
    "socket.gaierror": "network",
    "socket.timeout": "network",
    "builtins.TimeoutError": "network",
    "ssl.SSLError": "network",
    "requests.exceptions.ConnectionError": "network",
    "requests.exceptions.Timeout": "network",
    "httpx.TransportError": "network",
    "httpx2.TransportError": "network",
    "aiohttp.client_exceptions.ClientConnectionError": "network",
    "aiohttp.client_exceptions.ClientPayloadError": "network",
    "botocore.exceptions.ConnectionError": "network",
    "botocore.exceptions.HTTPClientError": "network",
}
# A pipe to another process of this machine breaks like a connection, and says nothing about a network.
NO_EVIDENCE = ("builtins.BrokenPipeError",)
# Too early, too often, or not able to: asked again later the same server may well answer.
PASSING = (408, 425, 429)
# What is still a guess as long as an error beneath says something more certain: what it was raised from
BROAD: tuple[Class, ...] = ("data", "configuration", "checkpoint")


def class_of(causes: Sequence[Cause]) -> tuple[Class, Cause] | None:
    """The class, and the error that shows it: the outermost that is certain, else the outermost broad one."""
    judged = [(kind, cause) for cause in causes if (kind := class_of_one(cause)) is not None]
    certain = [found for found in judged if found[0] not in BROAD]
    return next(iter([*certain, *judged]), None)


def class_of_one(cause: Cause) -> Class | None:
    if cause.type in NO_EVIDENCE:
        return None
    if cause.errno in ERRNOS:
        return ERRNOS[cause.errno]
    if cause.http_status in PASSING or cause.http_status >= 500:
        return "network"
    return next((TYPES[name] for name in (cause.type, *cause.bases) if name in TYPES), None)


def name_of(cause: Cause) -> str:
    """`OSError, ENOSPC, of /runs/x/model.safetensors`."""
    status = f"HTTP {cause.http_status}" if cause.http_status else ""
    about = f"of {cause.subject}" if cause.subject else ""
    return ", ".join(filter(None, [cause.type.rpartition(".")[2], cause.errno, status, about]))
