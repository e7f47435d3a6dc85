"""Before a resume: is the copy of the run at its `output.remote` ahead of what is here? It is where the job went on
from another machine, or lost its own after the last checkpoint that came home."""

import subprocess
import sys
from collections.abc import Callable

from runjob.schemas.read import read_job_json
from runjob.schemas.run import RunDir


def bring_newer(run: RunDir, *, told: Callable[[str], None]) -> list[str]:
    """Take later attempts and checkpoints from there; the lines say what could not be known. The work is the worker's,
    which knows what a whole checkpoint is."""
    remote = read_job_json(run.job).job.output.remote
    if remote is None:
        return []
    told(f"looking for what is newer at {remote}/{run.id}")
    command = [sys.executable, "-m", "runjob.runner.worker.adopt", "--newer", remote, str(run.path)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in asked.stdout.splitlines():
        told(line)
    if asked.returncode == 0:
        return []
    why = asked.stderr.strip().removeprefix("runjob: ") or f"code {asked.returncode}"
    return [*why.splitlines()[-1:], "so it goes on from what is here, whatever is there"]
