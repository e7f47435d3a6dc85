"""Before a resume: is the copy of the run at its `output.remote` ahead of what is here? It is where the job went on
from another machine, or lost its own after the last checkpoint that came home."""

import subprocess
import sys
from collections.abc import Callable

from runjob.schemas.read import read_job_json
from runjob.schemas.run import RunDir

# A checkpoint of gigabytes over a slow line. Meanwhile nobody else can resume or cancel the job.
PATIENCE_S = 1800.0
AS_IT_IS = "so it goes on from what is here, whatever is there"


def bring_newer(run: RunDir, *, told: Callable[[str], None], patience_s: float = PATIENCE_S) -> list[str]:
    """Take later attempts and checkpoints from there; the lines say what could not be known. The work is the worker's,
    which knows what a whole checkpoint is."""
    remote = read_job_json(run.job).job.output.remote
    if remote is None:
        return []
    told(f"looking for what is newer at {remote}/{run.id}")
    command = [sys.executable, "-m", "runjob.runner.worker.adopt", "--newer", remote, str(run.path)]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience_s)
    except subprocess.TimeoutExpired:
        return [f"{remote}/{run.id} was not read to its end in {patience_s:.0f} s", AS_IT_IS]
    for line in asked.stdout.splitlines():
        told(line)
    if asked.returncode == 0:
        return []
    why = asked.stderr.strip().removeprefix("runjob: ") or f"code {asked.returncode}"
    return [*why.splitlines()[-1:], AS_IT_IS]
