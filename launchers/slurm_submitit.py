"""The door to submitit, and the only room that imports it: sbatch's text is written and handed in here."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runjob.schemas.errors import LaunchError
from runjob.schemas.secret_names import environment_for

if TYPE_CHECKING:
    from submitit import SlurmExecutor


def sbatch_text(folder: Path, python: str | None, told: Mapping[str, Any]) -> str:
    """The text that `hand_in` would hand to sbatch."""
    executor = make_executor(folder, python, told)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "preview")
    return text


def hand_in(folder: Path, python: str | None, told: Mapping[str, Any], arguments: tuple[str, ...]) -> str:
    """sbatch, by submitit; the number of the Slurm job."""
    return hand_in_array(folder, python, told, [arguments])[0]


def hand_in_array(
    folder: Path, python: str | None, told: Mapping[str, Any], arguments: Sequence[tuple[str, ...]]
) -> list[str]:
    """The number of each task, in the order of their arguments; of a single one, that of a job which is no array."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from runjob.launchers.slurm_node import stand_by

    said = io.StringIO()
    try:
        # submitit prints what sbatch says, and raises it too
        with outside_of_jobs(), contextlib.redirect_stderr(said):
            jobs = make_executor(folder, python, told).map_array(stand_by, *zip(*arguments, strict=True))
    except (FailedJobError, FailedSubmissionError) as error:
        raise LaunchError(f"sbatch refused the job: {str(error).strip() or said.getvalue().strip()}") from error
    except OSError as error:
        raise LaunchError(f"the job can't be handed to Slurm: {error}") from error
    return [str(job.job_id) for job in jobs]


def make_executor(folder: Path, python: str | None, told: Mapping[str, Any]) -> "SlurmExecutor":
    """submitit's executor with our parameters; what it starts is run by `python`, else by this interpreter. Its check
    for srun is ours to make, in our words; a plan needs none."""
    import submitit

    class Executor(submitit.SlurmExecutor):  # type: ignore[misc]  # submitit has no types here
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Executor(folder=folder, python=shlex.quote(python or sys.executable))
    executor.update_parameters(**told)
    return executor


@contextlib.contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Submitted from within another Slurm job, it must not inherit that one's nodes and tasks. Nor does it get secrets:
    Slurm writes the environment of a job into its own state and into the spool of the node."""
    kept = environment_for("sbatch", os.environ)
    hidden = {
        key: value
        for key, value in os.environ.items()
        if key not in kept or (key.startswith("SLURM") and key != "SLURM_CONF")
    }
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)
