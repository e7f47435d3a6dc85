"""Amounts with units as job files write them: `10000 steps`, `3 epochs`, `100M tokens`, `30 min`, `12:30:00`, `24GiB`.

Every amount keeps its canonical text, so that job.json shows what a user would have written.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Unit = Literal["steps", "epochs", "tokens", "seconds", "evaluations", "share", "never"]

SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
UNIT_WORDS: dict[str, tuple[Unit, int]] = {
    "step": ("steps", 1),
    "steps": ("steps", 1),
    "epoch": ("epochs", 1),
    "epochs": ("epochs", 1),
    "token": ("tokens", 1),
    "tokens": ("tokens", 1),
    "evaluation": ("evaluations", 1),
    "evaluations": ("evaluations", 1),
    "s": ("seconds", 1),
    "sec": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "hour": ("seconds", 3600),
    "hours": ("seconds", 3600),
}
_NUMBER = r"(?P<number>\d+(?:\.\d+)?)(?P<suffix>[kKMBT]?)"
_AMOUNT = re.compile(rf"{_NUMBER}\s+(?P<unit>[a-z]+)")
_DURATION = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?B)")
SIZE_UNITS = {f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)} | {f"{p}iB": 1024**i for i, p in enumerate("KMGT", 1)}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """An exact amount of one unit; `text` is how it is written. `never` has the amount 0."""

    amount: Fraction
    unit: Unit
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def never(self) -> bool:
        return self.unit == "never"

    def steps(self, *, steps_per_epoch: Fraction, tokens_per_step: int) -> int:
        """Optimiser steps that hold this amount, rounded up; only for steps, epochs and tokens."""
        per_unit = {
            "steps": Fraction(1),
            "epochs": steps_per_epoch,
            "tokens": Fraction(1, tokens_per_step),
        }
        return -int(-(self.amount * per_unit[self.unit]) // 1)


NEVER = Quantity(amount=Fraction(0), unit="never", text="never")


def parse_quantity(text: str) -> Quantity:
    """`500 steps`, `1.5 epochs`, `100M tokens`, `30 min`, `never` as a Quantity.

    >>> parse_quantity("10k steps").amount
    Fraction(10000, 1)
    >>> parse_quantity("30 min").unit
    'seconds'
    """
    if text == "never":
        return NEVER
    match = _AMOUNT.fullmatch(text)
    if match is None or match["unit"] not in UNIT_WORDS:
        raise ValueError(f"{text!r} is not an amount with a unit such as `500 steps` or `1 epoch`")
    unit, factor = UNIT_WORDS[match["unit"]]
    amount = Fraction(match["number"]) * SUFFIXES[match["suffix"]] * factor
    return Quantity(amount=amount, unit=unit, text=text)


def parse_warmup(value: float | str) -> Quantity:
    """Warm-up as a share of the run (`0.05`) or as an amount (`2000 steps`)."""
    if isinstance(value, str):
        return parse_quantity(value)
    return Quantity(amount=Fraction(str(value)), unit="share", text=str(value))


def parse_duration(text: str) -> int:
    """Seconds in `12:30:00` (hours first, never minutes) or `2-00:00:00` (days first).

    >>> parse_duration("12:30:00")
    45000
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration HH:MM:SS or D-HH:MM:SS")
    days, hours = int(match["days"] or 0), int(match["hours"])
    return ((days * 24 + hours) * 60 + int(match["minutes"])) * 60 + int(match["seconds"])


def parse_size(text: str) -> int:
    """Bytes in `24GiB` or `500 MB`.

    >>> parse_size("24GiB")
    25769803776
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 24GiB or 500 MB")
    return int(Fraction(match["number"]) * SIZE_UNITS[match["unit"]])


def parse_count(value: int | str) -> int:
    """A whole number, also written `10k`, `1M`, `10B`."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(_NUMBER, value)
    if match is None:
        raise ValueError(f"{value!r} is not a number such as 500 or 10M")
    return int(Fraction(match["number"]) * SUFFIXES[match["suffix"]])


def counted(number: int, thing: str) -> str:
    """So many of a thing, in words for people.

    >>> counted(1, "training document"), counted(2500, "row")
    ('1 training document', '2,500 rows')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
