"""A group, or a matrix that is none yet, as a table: a line a cell, with what tells it from the others."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from runjob.runner.asking import states_of
from runjob.runner.follow import has_ended
from runjob.runner.runs import Summary, ago, summarise
from runjob.runner.text import print_json, table, watch
from runjob.schemas import wording
from runjob.schemas.errors import JobError
from runjob.schemas.group import GroupDir
from runjob.schemas.plan import Plan
from runjob.schemas.problems import one_line
from runjob.schemas.read import Cell


def plan_cells(cells: Sequence[Cell], *, launcher: str, out: str | None, as_json: bool) -> int:
    """A line a cell: what varies and what comes of it. The whole plan of one is `--cell K`."""
    from runjob.runner.from_run import find_runs
    from runjob.runner.pace import Paces
    from runjob.runner.place import imagine, missing_here, plan_on
    from runjob.runner.training_time import expect
    from runjob.schemas.end_to_end import rows_are_padded
    from runjob.schemas.facts import recall_facts
    from runjob.schemas.run import home

    if out is not None:
        raise JobError("--out writes one plan; --cell K says of which job")
    plans, times, missing, paces = [], [], dict[str, None](), Paces(home())
    looked = [find_runs(cell.resolved) for cell in cells]
    cells = [replace(cell, resolved=found) for cell, (found, _) in zip(cells, looked, strict=True)]
    missing.update(dict.fromkeys(str(problem) for _, absent in looked for problem in absent))
    for cell in cells:
        place = imagine(cell.resolved.job, launcher)
        facts = recall_facts(cell.resolved.job, padded=rows_are_padded(cell.resolved.job))
        plans.append(plan_on(cell.resolved, place, facts=facts))
        times.append(expect(cell.resolved.values, cell.resolved.job, plans[-1], place, facts, paces))
        missing.update(dict.fromkeys(missing_here(cell.resolved, place)))
    if as_json:
        rows = [
            {
                "cell": cell.number,
                "varied": cell.varied,
                "time": time.short,
                "training_time": asdict(time),
                **asdict(plan),
            }
            for cell, plan, time in zip(cells, plans, times, strict=True)
        ]
        print_json({"cells": rows, "missing": list(missing)})
        return 0
    paths = list(cells[0].varied)
    known = any(time.source != "unknown" or time.told is not None for time in times)
    lines = [
        [
            str(cell.number),
            *(shown(cell.varied[path]) for path in paths),
            *sizes(plan),
            *([time.short] if known else []),
        ]
        for cell, plan, time in zip(cells, plans, times, strict=True)
    ]
    head = ["CELL", *map(last_word, paths), "PARAMETERS", "STEPS", "TOKENS", *(["TIME"] if known else [])]
    print(table(head, lines))
    for line in missing:
        print(f"missing here   {line}")
    return 0


def sizes(plan: Plan) -> list[str]:
    """Parameters, steps and tokens, as far as they are known."""
    tokens = None if plan.steps is None else plan.steps * plan.tokens_per_step
    return ["unknown" if one is None else f"{one:,}" for one in (plan.parameters, plan.steps, tokens)]


def show_group(group: GroupDir, *, as_json: bool, watching: bool) -> int:
    if as_json:
        print_json(group_json(group))
    elif watching:
        watch(lambda: group_text(group), until=lambda: all(map(has_ended, states_of(group.runs()))))
    else:
        print(group_text(group))
    return 0


def group_json(group: GroupDir) -> dict[str, object]:
    known = group.read()
    varied = {member.id: {"number": member.number, "varied": member.varied} for member in known.members}
    jobs = [{**vars(row), **varied[row.id]} for row in summaries(group)]
    return {"id": group.id, "launcher": known.launcher, "at_once": known.at_once, "jobs": jobs}


def summaries(group: GroupDir) -> list[Summary]:
    runs = group.runs()
    return list(map(summarise, runs, states_of(runs)))


def group_text(group: GroupDir) -> str:
    """A line a job, with what tells it from the others."""
    from runjob.runner.commands_jobs import class_column, loss, steps

    varied = {member.id: member.varied for member in group.read().members}
    rows = summaries(group)
    paths = list(varied[rows[0].id]) if rows else []
    cells = [[shown(varied[row.id][path]) for path in paths] for row in rows]
    shown_class, classes = class_column(rows)
    facts = [
        [row.id, *cell, row.state, *kind, steps(row), loss(row), ago(row.updated)]
        for row, cell, kind in zip(rows, cells, classes, strict=True)
    ]
    return table(["ID", *map(last_word, paths), "STATE", *shown_class, "STEP", "LOSS", "LAST SIGN"], facts)


def last_word(path: str) -> str:
    """`training.learning_rate` as LEARNING_RATE."""
    return one_line(path.rpartition(".")[2].upper())


def shown(value: object) -> str:
    return one_line(wording.flow(value))
