"""Files that lie elsewhere, through fsspec: what a glob stands for, what the server says of a file, and its bytes from
any place on. Nothing here writes to the disk (data/downloads.py does) and nothing is asked but what is called for.

fsspec and what it needs for an address (aiohttp for http, s3fs for s3) are imported by whoever asks for one. They find
credentials by themselves, in their own variables and profiles; none of them passes through here.
"""

import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runjob.schemas.errors import JobError, MissingError, RunjobError

BLOCK = 4 * 2**20
CONNECT_S = 30.0
SILENCE_S = 60.0
# What a server may say of a file's version, the surest first; the names are those of fsspec's file systems.
VERSIONS = ("ETag", "etag", "VersionId", "Content-MD5", "md5Hash", "Digest", "sha256", "blob_id", "generation")
DATES = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime")
PACKAGES = {"s3": "'runjob[s3]'", "s3a": "'runjob[s3]'", "http": "aiohttp", "https": "aiohttp"}
# What a file system raises beside OSError when its network or its server fails, by the module that defines it
FAILURES = {
    "aiohttp": ("ClientError",),
    "fsspec.exceptions": ("FSTimeoutError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "huggingface_hub.errors": ("HfHubHTTPError", "OfflineModeIsEnabled"),
    "google.api_core.exceptions": ("GoogleAPIError",),
    "gcsfs.retry": ("HttpError",),
    "azure.core.exceptions": ("AzureError",),
    "paramiko.ssh_exception": ("SSHException",),
}
FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file as its server describes it; `size` and `version` are None where it says nothing about them."""

    url: str
    size: int | None
    version: str | None


class RemoteError(Exception):
    """`answered`: the server was there and said no. Else nobody knows what it would have said."""

    def __init__(self, said: str, *, answered: bool) -> None:
        super().__init__(said)
        self.answered = answered


def failures() -> tuple[type[Exception], ...]:
    """The exceptions of every file system that is loaded."""
    loaded = [(sys.modules[module], names) for module, names in FAILURES.items() if module in sys.modules]
    return (OSError, EOFError, *(getattr(module, name) for module, names in loaded for name in names))


def find_problem(url: str, *, where: str = "data.path") -> RunjobError | None:
    """Why an address can't be used on this machine, whatever its server says: MissingError of a package, JobError of
    what is no address. Nobody is asked for that. `where`: the field of the job that names it."""
    import fsspec

    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        remedy = f"type: pip install {package}" if package else str(error)
        return MissingError(f"{where}: {url}: {protocol}:// needs a package that is not installed; {remedy}")
    except ValueError:
        why = f"{protocol}:// is no kind of address that fsspec knows"
        return JobError(f"{where}: {url}: {why}; write https://, s3://, hf:// or a path")
    return None


def has_glob(url: str) -> bool:
    """`?` is none: in an address it begins the query. Brackets of an IPv6 host are none either."""
    path = urllib.parse.urlsplit(url).path
    return "*" in path or "[" in path


def expand(pattern: str) -> list[str]:
    """The addresses that a glob stands for, if the server lists its files."""
    system, path = _filesystem(pattern)
    try:
        found = [system.unstrip_protocol(name) for name in system.glob(path)]
    except failures() as error:
        raise explain(error) from error
    except (NotImplementedError, ValueError) as error:  # of a kind that lists nothing; `data:` raises ValueError
        raise RemoteError("this kind of address lists no files; name them one by one", answered=True) from error
    if not found:
        raise RemoteError("no file there matches, or the server doesn't list its files; name them", answered=True)
    return sorted(found)


def look(url: str) -> Remote:
    """What the server says of a file now."""
    system, path = _filesystem(url)
    try:
        system.invalidate_cache()
        info: dict[str, Any] = system.info(path)
    except failures() as error:
        raise explain(error) from error
    if info["type"] == "directory":
        raise RemoteError(f"it is a directory; name its files, for example {url.rstrip('/')}/*.txt", answered=True)
    version = next((f"{name} {info[name]}" for name in (*VERSIONS, *DATES) if info.get(name)), None)
    return Remote(url=url, size=info["size"], version=version)


def read_blocks(remote: Remote, *, start: int) -> Iterator[tuple[int, bytes]]:
    """The bytes from `start` on, each block with its place; where the server can't begin in the middle, they begin at
    place 0 again."""
    system, path = _filesystem(remote.url)
    place = start
    try:
        if remote.size is None:
            yield from _read_through(system, path)
            return
        with system.open(path, "rb", block_size=BLOCK, cache_type="none") as file:
            file.seek(place)
            while block := file.read(min(BLOCK, remote.size - place)):
                yield place, block
                place += len(block)
        if place != remote.size:
            raise RemoteError(f"it ends after {place} of {remote.size} bytes", answered=False)
    except failures() as error:
        raise explain(error) from error
    except ValueError as error:
        if not place or not remote.url.startswith("http"):
            raise explain(error) from error
        yield from _again_from_the_beginning(system, path)  # fsspec's word for a server that knows no ranges


def _again_from_the_beginning(system: Any, path: str) -> Iterator[tuple[int, bytes]]:  # noqa: ANN401
    try:
        yield from _read_through(system, path)
    except failures() as error:
        raise explain(error) from error


def _read_through(system: Any, path: str) -> Iterator[tuple[int, bytes]]:  # noqa: ANN401
    """All of it in one request."""
    place = 0
    with system.open(path, "rb", block_size=0) as file:
        while block := file.read(BLOCK):
            yield place, block
            place += len(block)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    problem = find_problem(url)
    if problem is not None:
        raise problem
    protocol = url.partition("://")[0]
    options = _http_options() if protocol in ("http", "https") else {}
    try:
        system, path = fsspec.core.url_to_fs(url, **options)
    except failures() as error:  # some ask their server when they are opened
        raise explain(error) from error
    except (AttributeError, TypeError, ValueError) as error:  # fsspec's own words for `more than an address is needed`
        why = f"{protocol}:// can't be opened by an address alone ({error})"
        raise JobError(f"data.path: {url}: {why}; write https://, s3://, hf:// or a path") from error
    return system, path


def _http_options() -> dict[str, Any]:
    """Bytes as they lie there and never unpacked on the way; proxies and ~/.netrc as everywhere; no limit on how long a
    large file takes, as long as something comes."""
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    client = {"trust_env": True, "auto_decompress": False, "timeout": patience}
    return {"client_kwargs": client, "headers": {"Accept-Encoding": "identity"}}


def explain(error: Exception) -> RemoteError:
    """In words. fsspec calls everything about http `file not found` and keeps what happened as the cause."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
    status = getattr(cause, "status", getattr(getattr(cause, "response", None), "status_code", None))
    if isinstance(status, int):
        reason = getattr(cause, "message", "")
        return RemoteError(f"the server answers {status} {reason}".strip(), answered=status < FIRST_SERVER_ERROR)
    if isinstance(cause, FileNotFoundError):
        return RemoteError("there is no such file", answered=True)
    if isinstance(cause, PermissionError):
        return RemoteError(f"it may not be read ({_line(cause)})", answered=True)
    said = _line(cause)
    if "credentials" in said:  # botocore names neither where it looked nor what public buckets want
        said += " (AWS_PROFILE or AWS_ACCESS_KEY_ID; FSSPEC_S3_ANON=true for a public bucket)"
    return RemoteError(said, answered=False)


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
