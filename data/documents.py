"""What every source of documents gives, and how it complains about rows that can't be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from runjob.data.digests import DigestCache
from runjob.schemas.errors import DataError

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Document:
    """`origin` is file:line, for messages only."""

    text: str
    origin: str


class Source(Protocol):
    """`done` of `total` bytes have been read since `documents` was last called; `empty` documents were skipped."""

    total: int
    done: int
    empty: int

    def digest(self, cache: DigestCache) -> str:
        """sha256 over everything that the documents are read from."""
        ...

    def documents(self) -> Iterator[Document]: ...


class BadRows:
    """The rows that can't be read: the first ten in words, all of them in number."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, origin: str, why: str) -> None:
        self.count += 1
        if len(self._first) < SHOWN:
            self._first.append(f"{origin}: {why}")

    def refuse(self) -> None:
        """DataError if there were any."""
        if self.count:
            more = f"\nand {self.count - SHOWN} more" if self.count > SHOWN else ""
            rows = "1 row" if self.count == 1 else f"{self.count} rows"
            raise DataError(
                "\n".join(self._first) + f"{more}\n{rows} can't be read; mend or remove them and start again"
            )
