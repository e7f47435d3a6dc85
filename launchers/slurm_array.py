"""Many runs as one job array: what they ask for in common is asked once, and Slurm begins each when there is room.

Tasks of an array differ in nothing but their number, so runs that ask for different things are arrays of their own.
Each task is stood over as a single job is, has its own run directory, and is requeued under its own number, `4711_3`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.launchers.base import Handle
from runjob.launchers.slurm_submitit import hand_in_array
from runjob.launchers.slurm_text import block_of, parameters, quoted, setup_lines
from runjob.schemas.job_hardware import Hardware
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir

# Names in a handle: by these a task is found whose submission broke off before anybody learnt its number
NAME, COMMENT, TASK, LOGS = "name", "comment", "task", "logs"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run, and where the nodes see it."""

    run: RunDir
    there: RunDir
    attempt: Attempt
    hardware: Hardware
    plan: Plan
    places: Mapping[str, str]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the node is told of it."""
        slurm = block_of(self.hardware)
        numbers = (self.attempt.number, slurm.node_failure_retries, slurm.signal_before)
        return (str(self.there.path), *map(str, numbers))


@dataclass(frozen=True, kw_only=True)
class Array:
    """Tasks that ask for the same, their number in the array being their place here."""

    name: str
    part: int
    tasks: tuple[Task, ...]

    @property
    def folder(self) -> Path:
        """For submitit's files and Slurm's logs, beside the runs."""
        return self.tasks[0].there.path.parent / "groups" / self.name / "slurm"

    @property
    def comment(self) -> str:
        return f"runjob array {self.part}"

    def facts(self, task: int) -> dict[str, str | int]:
        """Beside `job` and `run`, in the handle of each."""
        return {NAME: self.name, COMMENT: self.comment, TASK: task, LOGS: str(self.folder)}

    def told(self) -> dict[str, Any]:
        """All that submitit is told: as of one run, but for what is each task's own."""
        first = self.tasks[0]
        slurm = block_of(first.hardware)
        common = parameters(str(first.there.path.parent), first.attempt.number, first.hardware, first.plan)
        setup = setup_lines(slurm, '"$runjob_run"', first.places, before=[self.case()])
        return {**common, "job_name": self.name, "comment": self.comment, "setup": setup}

    def case(self) -> str:
        """Which run a task is; bash's own variable, so that no program inherits it."""
        runs = (f"{number}) runjob_run={quoted(str(task.there.path))};;" for number, task in enumerate(self.tasks))
        return f'case "$SLURM_ARRAY_TASK_ID" in {" ".join(runs)} esac'


def arrays_of(name: str, tasks: Sequence[Task]) -> list[Array]:
    """As few as there can be, in the order of the tasks."""
    alike: dict[str, list[Task]] = {}
    for task in tasks:
        alike.setdefault(_request(task), []).append(task)
    return [Array(name=name, part=part, tasks=tuple(found)) for part, found in enumerate(alike.values())]


def _request(task: Task) -> str:
    """What a run asks Slurm for, without its name."""
    told = parameters("", 0, task.hardware, task.plan)
    slurm = block_of(task.hardware)
    folder = str(task.there.path.parent)
    return json.dumps([told, slurm.python, slurm.setup, dict(task.places), folder], sort_keys=True, default=str)


def submit_array(array: Array) -> list[str]:
    """The number of each task in Slurm."""
    python = block_of(array.tasks[0].hardware).python
    return hand_in_array(array.folder, python, array.told(), [task.arguments for task in array.tasks])


def found_by(run: RunDir, handle: Handle, comment: str) -> tuple[str, str, int | None]:
    """The name, comment and task number that Slurm knows a submission of this handle by."""
    if NAME not in handle.facts:
        return run.id, comment, None
    return str(handle.facts[NAME]), str(handle.facts[COMMENT]), int(handle.facts[TASK])
