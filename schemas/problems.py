"""One mistake of a job file as a value, and the error that carries all of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runjob.schemas.errors import JobError
from runjob.schemas.urls import hide_secrets

LONGEST_PATH = 100
# A message that repeats what a user wrote should repeat no megabyte of it; ours have 350 characters at most
LONGEST_MESSAGE = 800
SET = "--set "  # a Mark whose file begins so is an argument, not a file
ADDED_SINCE = "added since: "  # before the place of a value that is younger than the run (schemas/earlier.py)
MATRIX = "matrix: "  # before the place of a value that a cell of a matrix has


class Mark(NamedTuple):
    """Where a value was written: line and column count from 1; line 0 is no file (`--set a=b`, `default`)."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        if self.line:
            return f"{self.file}:{self.line}:{self.column}"
        return SET.strip() if self.is_set else self.file

    @property
    def is_set(self) -> bool:
        return self.line == 0 and self.file.startswith(SET)

    @property
    def is_default(self) -> bool:
        return self.line == 0 and self.file.removeprefix(ADDED_SINCE) == DEFAULT.file


DEFAULT = Mark("default", 0, 0)

# Stands where a value is wrong, so that the walk goes on and rules know that they can't judge it
WRONG: Any = type("Wrong", (), {"__repr__": lambda self: "WRONG"})()


def with_dots(path: str) -> str:
    """`data.sources[0].weight` as `data.sources.0.weight`: messages and arguments may write either."""
    return re.sub(r"\[(\d+)\]", r".\1", path)


def one_line(text: str) -> str:
    """A user's text may hold line breaks, escape sequences and passwords; a terminal should see none of them."""
    text = hide_secrets(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake; `path` is the dotted path of the value, empty where the file as a whole is meant."""

    file: str
    line: int
    column: int
    path: str
    message: str

    @staticmethod
    def at(mark: Mark, path: str, message: str) -> "Problem":
        shown = path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}..."
        said = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}..."
        return Problem(
            file=hide_secrets(mark.file),
            line=mark.line,
            column=mark.column,
            path=one_line(shown),
            message=one_line(said),
        )

    def __str__(self) -> str:
        place = one_line(f"{self.file}:{self.line}:{self.column}" if self.line else self.file)
        argument = with_dots(self.file.removeprefix(SET).partition("=")[0]) if self.file.startswith(SET) else None
        said = not self.path or argument == with_dots(self.path)
        return f"{place}: {self.message}" if said else f"{place}: {self.path}: {self.message}"


class JobFileError(JobError):
    """Every problem of one job file (and its --set values), one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
