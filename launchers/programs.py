"""Start a program of the plan, be it a stage or one beside the stages: in the run directory, its words in its log, and
with an end to it if the supervisor ends."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from runjob.schemas.lifeline import set_parent_death_signal
from runjob.schemas.plan import Companion, Stage
from runjob.schemas.run import RunDir


def start_program(
    program: Stage | Companion, run: RunDir, log: Path, *, variables: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """A located program in a process group of its own; `variables` are the supervisor's own. OSError if it can't be
    started."""
    with log.open("ab") as file:
        return subprocess.Popen(
            program.argv,
            cwd=run.path,
            env={**os.environ, **program.env, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            process_group=0,
            preexec_fn=set_parent_death_signal,  # safe: there is one thread here
        )
