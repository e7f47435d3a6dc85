"""Everything in which two runs differ, or a job file and a run."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.runner.run_facts import Fact, Facts, Group
from runjob.schemas.run import RunDir

GROUPS: tuple[Group, ...] = ("job", "data", "environment", "code", "deepspeed", "results")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that differs; None where one of the two lacks it."""

    group: Group
    name: str
    a: Fact | None
    b: Fact | None

    def to_json(self) -> dict[str, Any]:
        sides = {side: None if fact is None else vars(fact) for side, fact in (("a", self.a), ("b", self.b))}
        return {"group": self.group, "name": self.name, **sides}


def find_differences(a: Facts, b: Facts) -> list[Difference]:
    """Group by group, in the order of the first one's values, then what only the second has. A group that one of them
    does not have at all is not compared: of a file nobody knows how it will end."""
    return [
        Difference(group=group, name=name, a=old, b=new)
        for group in GROUPS
        if group in a and group in b
        for name, old, new in _pairs(a[group], b[group])
        if not _same(old, new)
    ]


def _pairs(a: Mapping[str, Fact], b: Mapping[str, Fact]) -> Iterator[tuple[str, Fact | None, Fact | None]]:
    for name in [*a, *(name for name in b if name not in a)]:
        yield name, a.get(name), b.get(name)


def _same(a: Fact | None, b: Fact | None) -> bool:
    """By value: that it stands in another line changes nothing. 1 and True are two things, and so are 1 and nothing."""
    if a is None or b is None:
        return a is b
    return type(a.value) is type(b.value) and a.value == b.value


def find_code_differences(a: RunDir, b: RunDir) -> list[Difference]:
    """Files of the frozen code that differ, by their sums; nothing where both are the same, or a
    run's code is not here."""
    if not (a.code.is_dir() and b.code.is_dir()):
        return []
    old, new = _sums(a.code), _sums(b.code)
    names = sorted({*old, *new})
    return [
        Difference(group="code", name=f"file {name}", a=old.get(name), b=new.get(name))
        for name in names
        if not _same(old.get(name), new.get(name))
    ]


def _sums(code: Path) -> dict[str, Fact]:
    files = [path for path in sorted(code.rglob("*.py")) if path.is_file() and not path.is_symlink()]
    sums = {path.relative_to(code).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {name: Fact(value=digest, origin="code/") for name, digest in sums.items()}
