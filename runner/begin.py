"""From a job file to a run that a launcher has: the two steps that `runjob JOB.yaml` and Python's `submit` share.

They are two, since between them there is an id, and whoever waits for the second may want to say it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runjob.runner.from_run import settle_runs
from runjob.runner.lock import locked
from runjob.runner.place import foretell, plan_on, survey
from runjob.runner.submit import create_run, launch
from runjob.schemas.plan import Plan
from runjob.schemas.read import Resolved
from runjob.schemas.run import RunDir, home


@dataclass(frozen=True, kw_only=True)
class Created:
    """A run directory with all that its worker reads, in nobody's hands yet."""

    run: RunDir
    plan: Plan
    launcher: str


def create(resolved: Resolved, *, source: Path, launcher: str, told: Callable[[str], None]) -> Created:
    """Everything that can be refused is refused here, before there is a run. `told` hears what a place that ends by
    itself says of the time."""
    resolved = settle_runs(resolved)
    place = survey(resolved, launcher)
    plan = plan_on(resolved, place)
    for line in foretell(resolved, place):
        told(line)
    run = create_run(resolved, plan, source=source, home=home(), launcher=launcher)
    return Created(run=run, plan=plan, launcher=launcher)


def start(created: Created) -> None:
    """Its first attempt, under the run's lock: a `cancel` in the middle of it leaves a request."""
    run = created.run
    with locked(run, patience_s=0.0):
        launch(run, created.plan, run.attempt(1), launcher=created.launcher)
