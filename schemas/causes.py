"""An error without its words: which types it and what it was raised from have, and the errno that they carry. It goes
with the words into exit.json, so that `runjob why` need not read a message to know what kind of failure it was."""

import errno
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

# How Rust's standard library (safetensors, tokenizers) carries the errno of a system call
RUST = re.compile(r"\(os error (\d+)\)")
NO_KIND = ("builtins.Exception", "builtins.BaseException", "builtins.object")


@dataclass(frozen=True, kw_only=True)
class Cause:
    """An exception without its message: its type with the module, the types that it descends from, the errno that it
    carries, by name, or the status that a server answered, and what it was about: a file's name, a module's."""

    type: str
    bases: tuple[str, ...] = ()
    errno: str = ""
    http_status: int = 0
    subject: str = ""


def read_causes(raw: list[dict[str, Any]]) -> tuple[Cause, ...]:
    return tuple(Cause(**{**one, "bases": tuple(one["bases"])}) for one in raw)


def causes_of(error: BaseException) -> tuple[Cause, ...]:
    """The error, what it was raised from, and so on; what merely came before it (`__context__`) explains nothing."""
    return tuple(_cause(one) for one in _chain(error))


def causes_json(error: BaseException) -> list[dict[str, Any]]:
    return [asdict(cause) for cause in causes_of(error)]


def _chain(error: BaseException) -> Iterator[BaseException]:
    met: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in met:
        met.add(id(link))
        yield link
        link = link.__cause__


def _cause(error: BaseException) -> Cause:
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    bases = [name for name in names[1:] if name not in NO_KIND]
    number, subject = None, None
    if isinstance(error, OSError):
        number, subject = error.errno, error.filename
    elif isinstance(error, ImportError):
        subject = error.name
    elif found := RUST.search(str(error)):
        number = int(found[1])
    return Cause(
        type=names[0],
        bases=tuple(bases),
        errno=errno_name(number),
        http_status=_http_status(error),
        subject="" if subject is None else str(subject),
    )


def _http_status(error: BaseException) -> int:
    """As httpx and requests keep it (`response.status_code`), or aiohttp (`status`)."""
    found = getattr(getattr(error, "response", None), "status_code", getattr(error, "status", 0))
    return found if isinstance(found, int) else 0


def errno_name(number: int | None) -> str:
    """`ENOSPC`; empty for none."""
    return "" if number is None else errno.errorcode.get(number, f"errno {number}")
