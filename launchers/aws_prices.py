"""What a machine costs: a dated table that comes with the package, the job's own figure where it names one.

A price is a promise to somebody's purse: it comes with its date and source, and where the table has none nobody
guesses.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runjob.schemas.job_hardware import Aws

TABLE = Path(__file__).with_name("aws_prices.json")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A type in the table: dollars an hour, cores, and how many GPUs of which name."""

    usd: float
    cores: int
    gpus: int
    gpu: str


@dataclass(frozen=True, kw_only=True)
class Table:
    date: str
    source: str
    regions: tuple[str, ...]
    rows: Mapping[str, Row]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The most that `hours` of a machine cost; `hourly` is None where nobody has said a price; `source`: who has."""

    hourly: float | None
    hours: float
    source: str

    @property
    def most(self) -> float | None:
        return None if self.hourly is None else self.hourly * self.hours


@cache
def table() -> Table:
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    rows = {name: Row(**row) for name, row in raw["instances"].items()}
    return Table(date=raw["date"], source=raw["source"], regions=tuple(raw["regions"]), rows=rows)


def cost_of(settings: Aws, region: str | None) -> Cost:
    """Price times the hours after which the machine ends itself. Spot machines cost at most this."""
    hours = settings.max_hours
    if settings.price_usd_hour is not None:
        return Cost(hourly=settings.price_usd_hour, hours=hours, source="hardware.aws.price_usd_hour")
    known = table()
    if settings.instance not in known.rows or region not in known.regions:
        return Cost(hourly=None, hours=hours, source=unknown_price(settings.instance, region))
    return Cost(hourly=known.rows[settings.instance].usd, hours=hours, source=f"{region}, table of {known.date}")


def unknown_price(kind: str, region: str | None) -> str:
    known = table()
    what = kind if kind not in known.rows else f"{kind} in {region or 'a region that the job does not name'}"
    return (
        f"the table of {known.date} has no price of {what} (it holds {len(known.rows)} types in "
        f"{', '.join(known.regions)}); say it: --set hardware.aws.price_usd_hour=1.23"
    )


def over_budget(settings: Aws, cost: Cost, spent: float) -> str:
    """Why this may not be rented; empty if it may. `spent` is what earlier machines of this job may have cost."""
    if settings.budget_usd is None:
        return ""
    if cost.most is None or cost.hourly is None:
        return f"hardware.aws.budget_usd: {settings.budget_usd:g} can't be held: {cost.source}"
    if spent + cost.most <= settings.budget_usd:
        return ""
    before = f" after ${spent:.2f} for earlier machines of this job" if spent else ""
    # rounded down: what is typed back must fit
    hours = math.floor((settings.budget_usd - spent) / cost.hourly * 10) / 10
    advice = f"; --set hardware.aws.max_hours={hours:g} keeps it" if hours > 0 else ""
    return (
        f"hardware.aws.budget_usd: {cost.hours:g} h of {settings.instance} at ${cost.hourly:g} ({cost.source}) are up "
        f"to ${cost.most:.2f}{before}, and the budget is ${settings.budget_usd:g}{advice}"
    )


def alike(kind: str) -> tuple[str, ...]:
    """Other types of the table with as many GPUs, or as many cores where it has none, cheapest first: what to ask for
    where this one is not to be had.

    >>> alike("g5.12xlarge")
    ('g4dn.12xlarge', 'g6.12xlarge', 'g5.24xlarge')
    """
    rows = table().rows
    if kind not in rows:
        return ()
    row = rows[kind]
    fit = [name for name, other in rows.items() if other.gpus == row.gpus and (row.gpus or other.cores >= row.cores)]
    return tuple(sorted((name for name in fit if name != kind), key=lambda name: rows[name].usd))
