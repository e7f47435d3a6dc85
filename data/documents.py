"""What every source of documents gives, and how it complains about rows that can't be read."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

from runjob.data.characters import private_character
from runjob.data.digests import DigestCache
from runjob.data.labels import Labelled
from runjob.schemas.errors import DataError
from runjob.schemas.quantities import counted

SHOWN = 10
NUL = "holds the character NUL, which no text does (a binary file, or UTF-16?)"


class Document(NamedTuple):
    """`origin` is file:line, for messages only; `labelled` is the same text with what is to be predicted of it.
    A tuple, since one is made for each line, and a frozen dataclass takes longer."""

    text: str
    origin: str
    labelled: Labelled | None = None

    @property
    def unmarked(self) -> str:
        """The text itself, without the marks of a pair: what decides its side, and whether it is wanted at all."""
        whole = None if self.labelled is None else self.labelled.whole
        return self.text if whole is None else whole


class BadRows:
    """The rows that can't be read: the first ten in words, all of them in number.

    `allowed` is the share of the rows that may be bad (0: none). Where none may, no document is handed out any more
    once there is one, so that the rest of a large corpus is only scanned for the count. `characters`: code points are
    the tokens, and those that CANINE's tokenizer uses itself are no text.
    """

    def __init__(self, *, allowed: float, characters: bool = False) -> None:
        self.allowed = allowed
        self.characters = characters
        self.count = 0
        self.first: list[str] = []

    @property
    def stops(self) -> bool:
        """Is it certain already that the job can't go on?"""
        return self.count > 0 and self.allowed == 0

    def refused(self, text: str) -> str | None:
        """Why no tokenizer could tell what this text says; None where one can."""
        if "\0" in text:
            return NUL
        return private_character(text) if self.characters else None

    def restart(self) -> None:
        self.count = 0
        self.first = []

    def add(self, origin: str, why: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{origin}: {why}")

    def refuse(self, *, rows: int) -> None:
        """DataError if more of so many rows were bad than are allowed."""
        if too_many(self.count, rows=rows, allowed=self.allowed):
            raise DataError(refusal(self.first, count=self.count, rows=rows, allowed=self.allowed))


def too_many(count: int, *, rows: int, allowed: float) -> bool:
    """By the number that stands in the job: as a float 0.29 of 100 rows would be a little less than 29.

    >>> too_many(29, rows=100, allowed=0.29), too_many(30, rows=100, allowed=0.29)
    (False, True)
    """
    return count > Fraction(str(allowed)) * rows


def refusal(first: list[str], *, count: int, rows: int, allowed: float) -> str:
    """The first ten bad rows, how many there are in all, and what to do about them."""
    lines = [*first, f"and {count - SHOWN:,} more"] if count > SHOWN else list(first)
    said = counted(count, "row")
    if allowed:
        share = f"{100 * count / rows:.3g} %, where bad_rows allows {100 * allowed:.3g} %"
        lines.append(f"{said} of {rows:,} can't be read ({share}); mend or remove them, or allow more")
    else:
        lines.append(f"{said} can't be read; mend or remove them and start again")
    if any("is not UTF-8 (byte" in line for line in first):
        lines.append("a file in Latin-1 becomes UTF-8 with `iconv -f LATIN1 -t UTF-8 FILE`")
    return "\n".join(lines)


class Source(Protocol):
    """`done` of `total` bytes have been read since `documents` was last called, and `rows` rows; of these `empty` were
    skipped as empty, and those in `bad` as unreadable."""

    total: int
    done: int
    rows: int
    empty: int
    bad: BadRows

    def digest(self, cache: DigestCache) -> str:
        """sha256 over everything that the documents are read from."""
        ...

    def documents(self) -> Iterator[Document]: ...
