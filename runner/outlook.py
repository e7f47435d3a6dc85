"""What would run, and what it lacks: all that can be said of a job file without a network, a GPU or torch."""

import dataclasses
from dataclasses import dataclass

from runjob.runner.from_run import find_runs
from runjob.runner.place import guesses, imagine, missing_here, plan_on, preview
from runjob.schemas.end_to_end import rows_are_padded
from runjob.schemas.facts import Facts, recall_facts
from runjob.schemas.plan import Plan
from runjob.schemas.read import Resolved


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """`rows` is what prepared data say of themselves, None until there are some; each line of `missing` is something
    that the job would be refused for; `preview` is what the launcher would ask its place for (an sbatch text), None
    where it shows none."""

    resolved: Resolved
    plan: Plan
    rows: Facts | None
    missing: tuple[str, ...]
    preview: str | None


def look_ahead(resolved: Resolved, *, launcher: str) -> Outlook:
    resolved, absent = find_runs(resolved)
    place = imagine(resolved.job, launcher)
    rows = recall_facts(resolved.job, padded=rows_are_padded(resolved.job))
    plan = plan_on(resolved, place, facts=rows)
    plan = dataclasses.replace(plan, unknown=(*plan.unknown, *guesses(resolved.job, launcher)))
    missing = (*missing_here(resolved, place), *map(str, absent))
    shown = preview(resolved, plan, place)
    return Outlook(resolved=resolved, plan=plan, rows=rows, missing=missing, preview=shown)
