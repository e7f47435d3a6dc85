"""`aws ls` and `aws down`: the machines that are rented, and their end, whatever became of the job or the laptop."""

import dataclasses
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_json
from runjob.runner.text import print_json, table
from runjob.schemas.errors import JobError, LaunchError
from runjob.schemas.run import find_run, home

if TYPE_CHECKING:
    from runjob.launchers.aws_fleet import Fleet
    from runjob.launchers.aws_instance import Rented


def run_aws_ls(args: Namespace) -> int:
    from runjob.launchers.aws_fleet import find_fleet

    fleet = find_fleet(args.region, everyone=args.everyone)
    if args.json:
        print_json([dataclasses.asdict(machine) | cost_fields(machine) for machine in fleet.machines])
    else:
        print(fleet_text(fleet))
    say_unheard(fleet)
    return 0


def run_aws_down(args: Namespace) -> int:
    from runjob.launchers.aws_fleet import end_fleet, find_fleet

    if bool(args.ids) == args.all:
        raise JobError("aws down: name job ids or machines (i-...), or type --all for every one; `runjob aws ls` lists")
    fleet = find_fleet(args.region, everyone=args.everyone)
    chosen = fleet.machines if args.all else choose(fleet, list(map(whole_id, args.ids)))
    end_fleet(chosen)
    for machine in chosen:
        print(f"ended {machine.id} ({machine.kind} in {machine.zone}) of {machine.job}")
    if not chosen:
        print("nothing to end: " + nothing_text(fleet))
    say_unheard(fleet)
    return 0


def whole_id(word: str) -> str:
    """`latest` and NAME@latest are jobs of this home; anything else is compared with what Amazon says."""
    return find_run(home(), word).id if word.endswith("latest") else word


def choose(fleet: "Fleet", wanted: Sequence[str]) -> "tuple[Rented, ...]":
    """By the machine's own id, or a job's id or its beginning; a name that fits nothing has nothing left to end, and
    one that several jobs begin with ends none of them."""
    jobs = {machine.job for machine in fleet.machines}
    meant = {
        word: [word] if word in jobs else sorted(job for job in jobs if word and job.startswith(word))
        for word in wanted
    }
    for word, found in meant.items():
        if len(found) > 1:
            raise JobError(f"aws down {word}: {len(found)} jobs begin so ({', '.join(found[:5])}); type more of the id")
    chosen = {*wanted, *(job for found in meant.values() for job in found)}
    return tuple(machine for machine in fleet.machines if machine.id in chosen or machine.job in chosen)


def say_unheard(fleet: "Fleet") -> None:
    """An answer that leaves out a region must not be read as `nothing is left`."""
    if fleet.unheard:
        raise LaunchError("these regions gave no answer, machines there are not listed:\n" + "\n".join(fleet.unheard))


def fleet_text(fleet: "Fleet") -> str:
    if not fleet.machines:
        return nothing_text(fleet)
    head = ["JOB", "MACHINE", "TYPE", "ZONE", "STATE", "HOURS", "USD SO FAR", "RENTED FROM"]
    return table(head, [fleet_row(machine) for machine in fleet.machines])


def fleet_row(machine: "Rented") -> list[str]:
    cost = cost_fields(machine)
    kind = f"{machine.kind} spot" if machine.spot else machine.kind
    usd = "unknown" if cost["usd_so_far"] is None else f"{'<' if machine.spot else ''}{cost['usd_so_far']:.2f}"
    return [machine.job, machine.id, kind, machine.zone, machine.state, f"{cost['hours']:.1f}", usd, machine.home]


def cost_fields(machine: "Rented") -> dict[str, float | None]:
    from runjob.launchers.aws_fleet import list_price

    hours, hourly = (time.time() - machine.launched) / 3600, list_price(machine)
    return {"hours": hours, "usd_so_far": None if hourly is None else hours * hourly}


def nothing_text(fleet: "Fleet") -> str:
    where = fleet.regions[0] if len(fleet.regions) == 1 else f"{len(fleet.regions)} regions"
    return f"no machine of runjob's is rented by {fleet.by} in {where}"


def configure_ls(parser: ArgumentParser) -> None:
    add_places(parser)
    add_json(parser)


def configure_down(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help="a job's id or its beginning, or a machine's (i-...)")
    parser.add_argument("--all", action="store_true", help="every machine that `aws ls` lists")
    add_places(parser)


def add_places(parser: ArgumentParser) -> None:
    said = "only this region (repeatable; default: every region of the account)"
    parser.add_argument("--region", action="append", default=[], metavar="NAME", help=said)
    parser.add_argument("--everyone", action="store_true", help="also machines that others in the account rented")


COMMANDS = (
    Command(
        name="aws ls",
        examples=(
            "runjob aws ls",
            "runjob aws ls --region eu-west-1 --everyone",
        ),
        usage="",
        summary="machines that are rented",
        configure=configure_ls,
        run=run_aws_ls,
    ),
    Command(
        name="aws down",
        examples=(
            "runjob aws down gpt2_dutch-1a2b",
            "runjob aws down --all",
        ),
        usage="[ID...] [--all]",
        summary="end them",
        configure=configure_down,
        run=run_aws_down,
    ),
)
