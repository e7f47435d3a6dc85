"""What would run, and what it lacks: all that can be said of a job file without a network, a GPU or torch."""

import dataclasses
from dataclasses import dataclass

from runjob.runner.from_run import find_runs
from runjob.runner.memory_estimate import Memory, estimate_memory, estimate_stages
from runjob.runner.pace import Paces
from runjob.runner.place import guesses, imagine, missing_here, plan_on, preview
from runjob.runner.training_time import TrainingTime, expect
from runjob.schemas.end_to_end import rows_are_padded
from runjob.schemas.facts import Facts, recall_facts
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import Resolved
from runjob.schemas.run import home


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """`rows` is what prepared data say of themselves, None until there are some; each line of `missing` is something
    that the job would be refused for; `preview` is what the launcher would ask its place for (an sbatch text), None
    where it shows none. `memory` is None where nobody here knows the network's sizes; `stages` is the same at every
    ZeRO stage; `machine` is what was planned for; `time` how long it would train, with where that is from."""

    resolved: Resolved
    plan: Plan
    rows: Facts | None
    missing: tuple[str, ...]
    preview: str | None
    memory: Memory | None
    stages: tuple[Memory, ...]
    machine: Machine
    time: TrainingTime


def look_ahead(resolved: Resolved, *, launcher: str) -> Outlook:
    resolved, absent = find_runs(resolved)
    place = imagine(resolved.job, launcher)
    rows = recall_facts(resolved.job, padded=rows_are_padded(resolved.job))
    plan = plan_on(resolved, place, facts=rows)
    plan = dataclasses.replace(plan, unknown=(*plan.unknown, *guesses(resolved.job, launcher)))
    missing = (*missing_here(resolved, place), *map(str, absent))
    shown = preview(resolved, plan, place)
    ranks = plan.resources.ranks_per_node
    return Outlook(
        resolved=resolved,
        plan=plan,
        rows=rows,
        missing=missing,
        preview=shown,
        memory=estimate_memory(resolved.job, plan.batch, ranks_per_node=ranks),
        stages=estimate_stages(resolved.job, plan.batch, ranks_per_node=ranks),
        machine=place.machine,
        time=expect(resolved.values, resolved.job, plan, place, rows, Paces(home())),
    )
