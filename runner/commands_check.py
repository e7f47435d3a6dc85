"""`validate plan`: all that can be known of a job before it runs."""

import dataclasses
import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_json, add_launcher, add_sets, job_id, positive
from runjob.runner.text import print_json
from runjob.schemas.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runjob.runner.outlook import Outlook
    from runjob.schemas.facts import Facts
    from runjob.schemas.job import Job
    from runjob.schemas.plan import Plan
    from runjob.schemas.read import Cell

FORMATS = ("text", "json", "github", "sarif")


def run_validate(args: Namespace) -> int:
    from runjob.schemas.read import JobFileError, Problem, read_cells
    from runjob.schemas.report import format_report

    report: dict[str, tuple[Problem, ...]] = {}
    for file in args.files:
        try:
            read_cells(Path(file), args.sets)
            report[file] = ()
        except JobFileError as error:
            report[file] = error.problems
    print(format_report(report, args.format), end="")
    return 2 if any(report.values()) else 0


def run_plan(args: Namespace) -> int:
    from runjob.launchers import find_launcher
    from runjob.runner.outlook import look_ahead
    from runjob.schemas.read import read_cells

    find_launcher(args.launcher)
    cells = read_cells(Path(args.file), args.sets)
    if cells[0].number and args.cell is None:
        from runjob.runner.text_group import plan_cells

        if args.diff:
            raise JobError("--diff compares one job; --cell K says which")
        return plan_cells(cells, launcher=args.launcher, out=args.out, as_json=args.json)
    resolved = chosen_cell(cells, args.cell, file=args.file).resolved
    seen = look_ahead(resolved, launcher=args.launcher)
    if args.out:
        write_plan_files(Path(args.out), seen.plan)
    if args.diff:
        from runjob.runner.commands_compare import print_difference_to_file
        from runjob.schemas.run import find_run, home

        print_difference_to_file(find_run(home(), args.diff), seen.resolved, seen.plan, as_json=args.json)
    elif args.json:
        print_json(plan_json(seen))
    else:
        print(plan_text(seen))
        if seen.preview is not None:
            print(f"\n--launcher {args.launcher}\n{seen.preview}")
    return 0


def chosen_cell(cells: "Sequence[Cell]", number: int | None, *, file: str) -> "Cell":
    """The one that `--cell` names, else the only one."""
    if number is None:
        return cells[0]
    if not cells[0].number:
        raise JobError(f"--cell {number}: {file} has no matrix")
    if number > len(cells):
        raise JobError(f"--cell {number}: {file} has {len(cells)} cells, numbered from 1")
    return cells[number - 1]


def foreign_code(job: "Job") -> tuple[str, ...]:
    """What runs besides runjob and its packages."""
    from runjob.schemas.job_model import PretrainedInit

    init = job.model.init
    if not isinstance(init, PretrainedInit) or not init.trust_remote_code:
        return ()
    return (f"code of {init.path} at {init.revision} runs in this job, as you (model.init.trust_remote_code)",)


def plan_json(seen: "Outlook") -> dict[str, object]:
    """The plan's own fields, and what is known besides."""
    from runjob.runner.memory_text import memory_json

    rows = None if seen.rows is None else dataclasses.asdict(seen.rows)
    memory = None if seen.memory is None else memory_json(seen.memory)
    stages = [memory_json(one) for one in seen.stages]
    beside = {
        "rows": rows,
        "missing": seen.missing,
        "preview": seen.preview,
        "warnings": foreign_code(seen.resolved.job),
        "memory": memory,
        "stages_of_zero": stages,
        "training_time": dataclasses.asdict(seen.time),
    }
    return {**dataclasses.asdict(seen.plan), **beside}


def plan_text(seen: "Outlook") -> str:
    from runjob.runner.estimate import describe_model
    from runjob.runner.memory_room import room_of, too_little
    from runjob.runner.memory_text import in_short
    from runjob.schemas.job_data import streamed

    job, plan, place = seen.resolved.job, seen.plan, seen.plan.resources
    rows = "unknown: a stream is read as it comes" if streamed(job.data) else rows_text(plan, seen.rows)
    steps = "unknown" if plan.steps is None else f"{plan.steps:,}"
    most = "at most " if job.data.layout == "lines" else ""
    total = "unknown" if plan.steps is None else f"{most}{plan.steps * plan.tokens_per_step:,}"
    known = [
        ("job", plan.name),
        ("model", describe_model(job.model)),
        ("parameters", "unknown" if plan.parameters is None else f"{plan.parameters:,}"),
        (
            "runs on",
            f"{place.nodes} node(s) x {place.ranks_per_node} rank(s), {place.device}, {place.threads} thread(s)",
        ),
        ("global batch", batch_text(plan)),
        ("rows", rows),
        ("steps", f"{steps} ({job.training.length})"),
        ("tokens", f"{most}{plan.tokens_per_step:,} a step, {total} in all"),
        ("time", str(seen.time)),
        *([] if seen.time.cost is None else [("cost", seen.time.cost)]),
        ("zero", str(job.hardware.zero)),
        ("precision", job.training.precision),
        ("memory", in_short(seen.memory)),
        ("checkpoint", checkpoint_text(plan)),
    ]
    lines = [f"{name:<14} {value}" for name, value in known]
    if job.output.remote is not None:
        lines.append(f"{'copies':<14} {remote_text(job)}")
    lines += [f"warning        {one}" for one in foreign_code(job)]
    short = () if seen.memory is None else too_little(seen.memory, room_of(job, seen.machine))
    lines += [f"careful        {one}" for one in short]
    lines += [] if seen.time.careful is None else [f"careful        {seen.time.careful}"]
    lines += [f"unknown        {one}" for one in plan.unknown]
    lines += [f"missing here   {one}" for one in seen.missing]
    lines += memory_lines(seen)
    lines += ["", "deepspeed.json", json.dumps(dict(plan.deepspeed), indent=2)]
    beside = [(f"stage {one.name}", one.argv, one.env) for one in plan.stages]
    beside += [(f"companion {one.name}", one.argv, one.env) for one in plan.companions]
    for name, argv, env in beside:
        lines += ["", name, *(f"  {key}={value}" for key, value in env.items()), "  " + " ".join(argv)]
    return "\n".join(lines)


def memory_lines(seen: "Outlook") -> list[str]:
    """Two tables: the parts of one rank, and other ZeRO stages."""
    from runjob.runner.memory_text import parts_text, stages_text

    return [] if seen.memory is None else ["", parts_text(seen.memory), "", stages_text(seen.stages)]


def checkpoint_text(plan: "Plan") -> str:
    from runjob.data.space import in_words
    from runjob.runner.estimate import checkpoint_bytes

    if plan.parameters is None:
        return "unknown, as the parameters are: 12 bytes each, on the disk and in main memory"
    size = in_words(checkpoint_bytes(plan.parameters))
    where = "" if plan.resources.nodes == 1 else " of the first node"
    return f"{size} on the disk, and a copy of that size in main memory{where}, from which it is written"


def remote_text(job: "Job") -> str:
    """What goes to `output.remote` and what stays there."""
    keep = job.training.checkpoint.keep
    kept = "all checkpoints" if keep == "all" else f"the newest {keep} and the best"
    return f"{job.output.remote}/ID: each checkpoint when it is written here, {kept} stay; events, code and the model"


def batch_text(plan: "Plan") -> str:
    batch = plan.batch
    whole = f"{batch.global_batch} sequences = {batch.ranks} rank(s) x"
    if batch.micro_tokens is not None:
        share = batch.global_batch // batch.ranks
        return f"{whole} {share}, in micro batches of at most {batch.micro_tokens:,} tokens"
    return f"{whole} {batch.accumulation} micro batch(es) x {batch.micro_batch}"


def rows_text(plan: "Plan", facts: "Facts | None") -> str:
    """What the prepared data say of the rows."""
    if facts is None:
        return "unknown until the data are prepared (`runjob prepare FILE`)"
    said = f"{facts.rows:,} an epoch, {facts.tokens / facts.rows:.3g} tokens on average; {facts.padding:.1%} padding"
    if facts.left_out:
        said += f"; {facts.left_out:,} tokens cut off"
    if str(plan.batch.ranks) not in facts.micro_batches:
        return said
    least, most = facts.micro_batches[str(plan.batch.ranks)]
    return f"{said}; {least if least == most else f'{least} to {most}'} micro batch(es) a rank and step"


def write_plan_files(out: Path, plan: "Plan") -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    (out / "deepspeed.json").write_text(json.dumps(dict(plan.deepspeed), indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out / 'plan.json'} and {out / 'deepspeed.json'}", file=sys.stderr)


def add_file(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.yaml", help="a job file")
    add_sets(parser)


def configure_validate(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="JOB.yaml", nargs="+", help="job files")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="for people, programs, GitHub or SARIF readers"
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    add_sets(parser)


def configure_plan(parser: ArgumentParser) -> None:
    add_file(parser)
    add_launcher(parser, default="local")
    parser.add_argument(
        "--cell", type=positive, metavar="K", help="of a file with a matrix one job, instead of a table"
    )
    parser.add_argument("--out", metavar="DIR", help="write plan.json and deepspeed.json there as well")
    parser.add_argument("--diff", metavar="ID", type=job_id, help="only what differs from this run")
    add_json(parser)


COMMANDS = (
    Command(
        name="validate",
        examples=(
            "runjob validate jobs/*.yaml",
            "runjob validate jobs/mine.yaml --set training.learning_rate=3e-4",
            "runjob validate --format sarif jobs/*.yaml > jobs.sarif",
        ),
        usage="FILE...",
        summary="every problem of every job file",
        configure=configure_validate,
        run=run_validate,
    ),
    Command(
        name="plan",
        examples=(
            "runjob plan jobs/gpt2_dutch_small.yaml",
            "runjob plan jobs/mine.yaml --launcher slurm --set hardware.nodes=2",
            "runjob plan jobs/mine.yaml --json --out plan/",
        ),
        usage="FILE",
        summary="what would run",
        configure=configure_plan,
        run=run_plan,
    ),
)
