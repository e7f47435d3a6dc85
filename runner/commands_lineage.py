"""`lineage`: the runs that a run started from, and those that started from it, as a tree."""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_id, add_json
from runjob.runner.lineage import Kin, changed_since, lineage
from runjob.runner.text import print_json
from runjob.schemas.run import find_run, home

if TYPE_CHECKING:
    from rich.tree import Tree

WIDTH = 1000


def run_lineage(args: Namespace) -> int:
    run = find_run(home(), args.id)
    top = lineage(run)
    if args.json:
        print_json(dataclasses.asdict(top))
        return 0
    from rich.console import Console

    # as wide as it is: a line that a terminal breaks can still be copied
    Console(highlight=False, width=WIDTH).print(drawn(top, asked=run.id, where=home()))
    return 0


def drawn(kin: Kin, *, asked: str, where: Path) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    head = Text(kin.id, style="bold" if kin.id == asked else "")
    head.append(f"  {said_of(kin, where)}" + ("  <- this one" if kin.id == asked else ""), style="not bold")
    tree = Tree(head)
    for child in kin.children:
        tree.children.append(drawn(child, asked=asked, where=where))
    return tree


def said_of(kin: Kin, where: Path) -> str:
    if kin.state is None:
        return kin.origin.words
    taught = f", taught by {kin.teacher}" if kin.teacher is not None else ""
    words = f"{kin.objective}, {kin.state}{taught}"
    if kin.origin.run is None:
        return f"{words}; {kin.origin.words}"
    changed = "; that run holds others by now" if changed_since(kin, where) else ""
    return f"{words}; from weights {str(kin.origin.sha256)[:12]}{changed}"


def configure_lineage(parser: ArgumentParser) -> None:
    add_id(parser)
    add_json(parser)


COMMANDS = (
    Command(
        name="lineage",
        usage="ID",
        summary="which runs it started from",
        configure=configure_lineage,
        run=run_lineage,
        examples=("runjob lineage latest", "runjob lineage paleo_dapt@latest --json"),
    ),
)
