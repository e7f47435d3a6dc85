"""Every machine that runjob rented for this account, in every region, and the end of them: `runjob aws ls|down`.

Asked of Amazon by tag and of nothing else, so it finds what a lost laptop left behind.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runjob.launchers.aws_client import check_region, connect, enabled_regions, known_regions
from runjob.launchers.aws_instance import Rented, end_machines, find_machines
from runjob.launchers.aws_prices import table
from runjob.schemas.errors import LaunchError, RunjobError

# Regions are asked side by side: about seventeen round trips around the world.
AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """`by` is who asked; `unheard` regions that gave no answer, each with its reason."""

    machines: tuple[Rented, ...]
    regions: tuple[str, ...]
    unheard: tuple[str, ...]
    by: str


def find_fleet(regions: Sequence[str] = (), *, everyone: bool = False) -> Fleet:
    """Machines of this caller, or of everyone in the account, in these regions or in all."""
    first = connect(regions[0] if regions else None)
    for region in regions:
        check_region(region, known_regions(first.session))
    by = first.caller()
    wanted = tuple(regions) or enabled_regions(first)

    def ask(region: str) -> tuple[Rented, ...] | str:
        try:
            return find_machines(first.in_region(region), by=None if everyone else by)
        except RunjobError as error:
            return f"{region}: {error}"

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        answers = list(pool.map(ask, wanted))
    found = [machine for answer in answers if not isinstance(answer, str) for machine in answer]
    return Fleet(
        machines=tuple(sorted(found, key=lambda one: (one.launched, one.region, one.id))),
        regions=wanted,
        unheard=tuple(answer for answer in answers if isinstance(answer, str)),
        by=by,
    )


def end_fleet(machines: Sequence[Rented]) -> None:
    """LaunchError names those that could not be ended; the others are."""
    problems = []
    for machine in machines:
        try:
            end_machines(connect(machine.region), [machine.id])
        except RunjobError as error:
            problems.append(f"{machine.id} in {machine.region}: {error}")
    if problems:
        raise LaunchError("\n".join(problems))


def list_price(machine: Rented) -> float | None:
    """Dollars an hour by the table; None where it has none."""
    known = table()
    here = machine.kind in known.rows and machine.region in known.regions
    return known.rows[machine.kind].usd if here else None
