"""The terms of a field (taxa, strata, ...) that a tokenizer is to hold whole: read from files, one term a line, a
category a file; and the table beside an extended tokenizer that says which id each has.

    terms.json    categories -> term -> id, in the order of the files
                  known: terms that were one token already; repeated: those that stood in the files before
                  inner: those left out, as their letters are a piece of longer words already
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.compression import DAMAGED, open_packed
from runjob.data.samples import PREFIX, locate
from runjob.data.sources import not_utf8
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.run import read_json, write_json

TABLE = "terms.json"
# 1 had no `inner`: such a term took the piece's own id, and each longer word with it read as if it held the term
FORMAT = 2
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Term:
    """`origin` is file:line, for messages only."""

    text: str
    category: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A term that stood in the files before, in this spelling or in one that the tokenizer reads alike."""

    term: str
    category: str
    first: str


@dataclass(frozen=True, kw_only=True)
class TermTable:
    """What a tokenizer was extended by. `base_tokens` is how many ids it had before; `inner` terms have no id."""

    base_tokens: int
    categories: Mapping[str, Mapping[str, int]]
    known: Mapping[str, tuple[str, ...]]
    inner: Mapping[str, tuple[str, ...]]
    repeated: tuple[Repeated, ...]

    @property
    def terms(self) -> dict[str, list[str]]:
        """By category all that the tokenizer was to hold whole, those that it doesn't behind the others."""
        listed = {name: list(held) for name, held in self.categories.items()}
        for name, left_out in self.inner.items():
            listed.setdefault(name, []).extend(left_out)
        return listed

    @property
    def added(self) -> int:
        """Tokens that are new."""
        return sum(map(len, self.categories.values())) - sum(map(len, self.known.values()))

    def write(self, folder: Path) -> None:
        write_json(folder / TABLE, {"format": FORMAT, **dataclasses.asdict(self)})


def read_table(folder: Path) -> TermTable | None:
    """The table beside a tokenizer; None where nobody extended it."""
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        raw: dict[str, Any] = read_json(path)
        return TermTable(
            base_tokens=raw["base_tokens"],
            categories={name: dict(terms) for name, terms in raw["categories"].items()},
            known={name: tuple(terms) for name, terms in raw["known"].items()},
            inner={name: tuple(terms) for name, terms in raw["inner"].items()} if raw["format"] > 1 else {},
            repeated=tuple(Repeated(**one) for one in raw["repeated"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is no table of terms that runjob wrote ({error}); extend the tokenizer again"
        ) from error


def read_terms(files: Mapping[str, str], *, where: str) -> tuple[Term, ...]:
    """Every term of every category, in order; `where` is what names a file in messages, its category follows."""
    found: list[Term] = []
    for category, name in files.items():
        found += _read_file(category, name, f"{where}{category}")
    return tuple(found)


def fingerprint(terms: tuple[Term, ...]) -> str:
    """sha256 over what the files hold, whatever they are called, and over how it is read."""
    listed: list[object] = [FORMAT, *([term.category, term.text] for term in terms)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _read_file(category: str, name: str, where: str) -> list[Term]:
    lines = _lines(name, where)
    terms = [
        Term(text=" ".join(line.split()), category=category, origin=f"{name}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not terms:
        empty = "holds blank lines only" if any(lines) or len(lines) > 1 else "is empty (0 bytes)"
        raise DataError(f"{where}: {name}: {empty}; write one term a line, or leave the category out")
    for term in terms:
        if CONTROL.search(term.text):
            raise DataError(f"{where}: {term.origin}: holds a control character, so it is no list of terms")
    return terms


def _lines(name: str, where: str) -> list[str]:
    path = locate(name) if name.startswith(PREFIX) else Path(name)
    if path.is_dir():
        raise DataError(f"{where}: {name} is a directory; name a file with one term a line")
    try:
        with path.open("rb") as raw:
            return open_packed(path, raw, name=name).read().decode().removeprefix("\ufeff").split("\n")
    except FileNotFoundError as error:
        raise MissingError(f"{where}: {name}: no such file; it holds one term a line") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{where}: {name}:{line}: {not_utf8(error)}") from error
    except DAMAGED as error:
        raise DataError(f"{where}: {name}: can't be read ({error})") from error
