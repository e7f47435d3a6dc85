"""Before a job goes on in another place: bring home what it needs from the one it leaves, and give up what that one
knows and nobody here does."""

import shutil
from collections.abc import Callable

from runjob.launchers.base import Fetcher, read_handle
from runjob.runner.runs import checkpoint_steps, launcher_name, launcher_of
from runjob.schemas.errors import LaunchError, MissingError, StateError
from runjob.schemas.manifest import best_of, folder_name
from runjob.schemas.run import Attempt, RunDir, Status


def bring_checkpoints(run: RunDir, status: Status, *, accept: bool, told: Callable[[str], None]) -> list[str]:
    """The newest checkpoint comes home from where the job was; the lines say what is given up instead, which a user
    has to `accept`."""
    launcher, handle = launcher_of(run), read_handle(run)
    if not isinstance(launcher, Fetcher) or handle is None or not handle.facts:
        return []
    if status.state == "unreachable":
        return given_up(run)
    try:
        launcher.fetch(run, told=told)
    except (LaunchError, MissingError) as error:  # not there, or there and it does not let us in
        if not accept:
            said = f"{run.id}: its newest checkpoint can't be brought home from {launcher_name(run)}: {error}"
            raise StateError(f"{said}\nwith --accept it goes on from what is here") from error
        return [*str(error).splitlines(), *given_up(run)]
    return []


def given_up(run: RunDir) -> list[str]:
    there = checkpoint_steps(run)
    here = f"the checkpoint of step {there[-1]}, the newest here" if there else "step 0: no checkpoint is here"
    said = [f"{launcher_name(run)} is not asked: it goes on from {here}; what was done after that there is given up"]
    if launcher_name(run) == "aws":
        said.append(f"its machine is not ended by that: runjob aws down {run.id}")
    return said


def as_seen_there(run: RunDir, start_from: str | int) -> str | int:
    """The checkpoint to start from, as another place will see it: the best one is the newest one's to name."""
    steps = checkpoint_steps(run)
    if start_from != "best" or not steps:
        return start_from
    best = best_of(run.checkpoints / folder_name(steps[-1]))
    if best is None:
        raise StateError(f"{run.id} has no best checkpoint yet (evaluation.best names the metric)")
    return best


def leave_behind(run: RunDir, attempt: Attempt, start_from: str | int) -> None:
    """Later checkpoints here are of a history that is left and move to attempts/N/, as the worker does with those
    beside it."""
    if isinstance(start_from, int):
        for step in checkpoint_steps(run):
            if step > start_from:
                target = attempt.path / "checkpoints" / folder_name(step)
                target.parent.mkdir(exist_ok=True)
                shutil.move(run.checkpoints / target.name, target)
