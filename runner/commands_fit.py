"""`fit`: which micro batch fits a memory, before anything runs out of it."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_json, add_launcher, add_sets, positive
from runjob.runner.text import print_json
from runjob.schemas.errors import JobError

if TYPE_CHECKING:
    from runjob.runner.fit import Candidate, Fit


def run_fit(args: Namespace) -> int:
    from runjob.launchers import find_launcher
    from runjob.runner.commands_check import chosen_cell
    from runjob.runner.fit import find_fit
    from runjob.runner.memory_room import room_of
    from runjob.runner.outlook import look_ahead
    from runjob.schemas.read import read_cells

    find_launcher(args.launcher)
    resolved = chosen_cell(read_cells(Path(args.file), args.sets), args.cell, file=args.file).resolved
    seen = look_ahead(resolved, launcher=args.launcher)
    room = room_of(resolved.job, seen.machine)
    limit = args.memory if args.memory is not None else room.asked(resolved.job)
    if limit is None:
        raise JobError("nobody here knows how much memory there will be; write --memory 24GiB")
    found = find_fit(resolved.job, seen.plan.resources, limit=limit)
    print_json(as_json(found)) if args.json else print(as_text(found))
    return 0 if found.best is not None else 1


def as_text(fit: "Fit") -> str:
    from runjob.runner.memory_text import gib, parts_text
    from runjob.schemas.job_model import group_of

    of = "of a GPU" if fit.now.memory.device else "of a machine's memory"
    lines = [("memory", f"{gib(fit.limit)} {of}"), ("now", said(fit.now))]
    if fit.best is None:
        group = group_of(fit.now.job.objective)
        lines.append(("fits", "not even one row at a time" if group == 1 else f"not even one group of {group} rows"))
        lines += [("would fit", f"{typed(one)} (about {gib(one.takes())})") for one in fit.others]
        if not fit.others:
            lines.append(("would fit", "nothing that is known here: take a smaller network or shorter rows"))
        shown = fit.now
    else:
        lines.append(("fits", said(fit.best)))
        lines.append(("type", "nothing: the job says so already" if fit.best.rows == fit.now.rows else typed(fit.best)))
        if fit.larger is not None:
            lines.append(("does not fit", said(fit.larger)))
        shown = fit.best
    return "\n".join([*(f"{name:<14} {value}" for name, value in lines), "", parts_text(shown.memory)])


def said(one: "Candidate") -> str:
    from runjob.runner.memory_text import gib

    return f"{one.rows} row(s) at a time, about {gib(one.takes())}"


def typed(one: "Candidate") -> str:
    return " ".join(f"--set {each}" for each in one.sets)


def as_json(fit: "Fit") -> dict[str, object]:
    from runjob.runner.memory_text import memory_json

    def plain(one: "Candidate | None") -> dict[str, object] | None:
        if one is None:
            return None
        return {"rows": one.rows, "bytes": one.takes(), "set": one.sets, "memory": memory_json(one.memory)}

    return {
        "limit": fit.limit,
        "now": plain(fit.now),
        "fits": plain(fit.best),
        "does_not_fit": plain(fit.larger),
        "would_fit": [plain(one) for one in fit.others],
    }


def size(text: str) -> int:
    from runjob.schemas.quantities import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def configure_fit(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.yaml", help="a job file")
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        type=size,
        help="of a GPU, or of the machine where the job has none, e.g. 24GiB (default: what is known of it)",
    )
    add_sets(parser)
    add_launcher(parser, default="local")
    parser.add_argument("--cell", type=positive, metavar="K", help="of a file with a matrix one job (default 1)")
    add_json(parser)


COMMANDS = (
    Command(
        name="fit",
        examples=(
            "runjob fit jobs/gpt2_dutch_small.yaml --memory 24GiB",
            "runjob fit jobs/mine.yaml --launcher aws",
            "runjob fit jobs/mine.yaml --memory 16GiB --json",
        ),
        usage="FILE",
        summary="the largest micro batch that fits a memory",
        configure=configure_fit,
        run=run_fit,
    ),
)
