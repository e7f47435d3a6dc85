"""`diff A B` and `compare ID...`: what differs between runs, and which of them did best."""

import dataclasses
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_json, job_id
from runjob.runner.comparison import ON_OTHER_DATA, Measured, Row, compare_runs, find_runs, on_other_data, short_names
from runjob.runner.differences import GROUPS, Difference, find_code_differences, find_differences
from runjob.runner.grid import Cell, Part, duration, in_words, print_grid
from runjob.runner.run_facts import Fact, Facts, deepspeed_facts, facts_of, job_facts, look_at
from runjob.runner.text import print_json
from runjob.schemas.direction import best_of
from runjob.schemas.run import RunDir, find_run, home

if TYPE_CHECKING:
    from runjob.runner.changes import Change
    from runjob.schemas.job_json import Resolved
    from runjob.schemas.plan import Plan

NONE = Cell(text="-")
HASH = re.compile(r"[0-9a-f]{40,64}")


def run_diff(args: Namespace) -> int:
    a, b = (find_run(home(), word) for word in (args.a, args.b))
    found = find_differences(everything_of(a), everything_of(b)) + find_code_differences(a, b)
    if args.json:
        print_json({"a": a.id, "b": b.id, "differences": [one.to_json() for one in found]})
    elif found:
        print_grid(["", a.id, b.id], difference_parts(found))
    else:
        print(f"{a.id} and {b.id} differ in nothing")
    return 0


def everything_of(run: RunDir) -> Facts:
    return facts_of(look_at([run])[0])


def difference_parts(found: Sequence[Difference]) -> list[Part]:
    """Group by group; the files of the code with what else is said of it."""
    rows = {group: [one for one in found if one.group == group] for group in GROUPS}
    return [
        Part(heading=group, rows=[[Cell(text=one.name), side(one.a, group), side(one.b, group)] for one in rows[group]])
        for group in GROUPS
        if rows[group]
    ]


def side(fact: Fact | None, group: str) -> Cell:
    """The value; of the job's with its origin. A hash by its first digits, which is what people compare."""
    if fact is None:
        return NONE
    text = in_words(fact.value)
    return Cell(text=text[:12] if HASH.fullmatch(text) else text, note=fact.origin if group == "job" else "")


def print_difference_to_file(run: RunDir, resolved: "Resolved", plan: "Plan", *, as_json: bool) -> None:
    """`plan FILE --diff ID`: the values of the job and of deepspeed.json that differ, and what a resume of that run
    with the file's value would say to each (changes.py)."""
    from runjob.runner.changes import judge

    file: Facts = {"job": job_facts(resolved), "deepspeed": deepspeed_facts(dict(plan.deepspeed))}
    found = find_differences(everything_of(run), file)
    verdicts = {
        one.name: judge(one.name, one.a and one.a.value, one.b and one.b.value) for one in found if one.group == "job"
    }
    if as_json:
        judged = {name: {"verdict": one.verdict, "reason": one.reason} for name, one in verdicts.items()}
        shown = [{**one.to_json(), "on_resume": judged.get(one.name)} for one in found]
        print_json({"a": run.id, "b": resolved.job.name, "differences": shown})
    elif found:
        print_grid(["", run.id, "the file", "ON RESUME"], with_verdicts(found, verdicts))
    else:
        print(f"the file differs from {run.id} in nothing")


def with_verdicts(found: Sequence[Difference], verdicts: "Mapping[str, Change]") -> list[Part]:
    parts = []
    for part in difference_parts(found):
        judged = [verdicts.get(row[0].text) if part.heading == "job" else None for row in part.rows]
        told = [NONE if one is None else Cell(text=one.verdict, note=one.reason) for one in judged]
        parts.append(Part(heading=part.heading, rows=[[*row, cell] for row, cell in zip(part.rows, told, strict=True)]))
    return parts


def run_compare(args: Namespace) -> int:
    rows = compare_runs(look_at(find_runs(home(), args.ids)), args.metric)
    if args.json:
        print_json([dataclasses.asdict(row) for row in rows])
        return 0
    metrics = list(rows[0].metrics)
    paths = list(dict.fromkeys(path for row in rows for path in row.varying))
    head = ["ID", "STATE", "STEP", "TOKENS", *short_names(paths)]
    right = [2, 3]
    for metric in metrics:
        right += [len(head), len(head) + 1, len(head) + 2]
        head += [metric, "best", "at step"]
    right += [len(head), len(head) + 1]
    print_grid([*head, "TOKENS/S", "TIME"], [Part(heading="", rows=compare_cells(rows, paths, metrics))], right=right)
    if on_other_data(rows):
        print(ON_OTHER_DATA)
    return 0


def compare_cells(rows: Sequence[Row], paths: Sequence[str], metrics: Sequence[str]) -> list[list[Cell]]:
    last = {metric: best_of((row.metrics[metric].last for row in rows), metric) for metric in metrics}
    best = {metric: best_of((row.metrics[metric].best for row in rows), metric) for metric in metrics}
    fastest = best_of((row.tokens_per_s for row in rows), "tokens_per_s")
    alike = len(rows) > 1 and not on_other_data(rows)
    found = []
    for row in rows:
        cells = [Cell(text=row.id), Cell(text=row.state), Cell(text=steps_text(row))]
        cells.append(NONE if row.tokens is None else Cell(text=f"{row.tokens:,}"))
        cells += [Cell(text=in_words(row.varying[path])) if path in row.varying else NONE for path in paths]
        for metric in metrics:
            cells += metric_cells(row.metrics[metric], last[metric], best[metric], marked=alike)
        cells.append(number(row.tokens_per_s, "{:,.0f}", best=len(rows) > 1 and row.tokens_per_s == fastest))
        found.append([*cells, Cell(text=duration(row.seconds))])
    return found


def steps_text(row: Row) -> str:
    return str(row.step) if row.steps is None else f"{row.step}/{row.steps}"


def metric_cells(measured: Measured, last: float | None, best: float | None, *, marked: bool) -> list[Cell]:
    return [
        number(measured.last, "{:.4f}", best=marked and measured.last == last),
        number(measured.best, "{:.4f}", best=marked and measured.best == best),
        NONE if measured.best_step is None else Cell(text=str(measured.best_step)),
    ]


def number(value: float | None, form: str, *, best: bool) -> Cell:
    return NONE if value is None else Cell(text=form.format(value), best=best)


def configure_diff(parser: ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), type=job_id, help="a job's id, a prefix, or NAME@latest")
    add_json(parser)


def configure_compare(parser: ArgumentParser) -> None:
    named = "jobs' ids; the name of a job stands for all its runs, a group for its cells"
    parser.add_argument("ids", metavar="ID|GROUP", nargs="+", type=job_id, help=named)
    shown = "what to compare by, as the eval records call it (repeatable; default: what the jobs go by)"
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help=shown)
    add_json(parser)


COMMANDS = (
    Command(
        name="diff",
        usage="A B",
        summary="what two runs differ in",
        configure=configure_diff,
        run=run_diff,
        examples=("runjob diff mine-1a2b mine-3c4d", "runjob diff mine-1a2b latest --json"),
    ),
    Command(
        name="compare",
        usage="ID...",
        summary="runs as a table",
        configure=configure_compare,
        run=run_compare,
        examples=(
            "runjob compare mine-1a2b mine-3c4d latest",
            "runjob compare mine-1a2b mine-3c4d --metric perplexity",
        ),
    ),
)
