"""Start a program of the plan, be it a stage or one beside the stages: in the run directory, its words in its log, and
with an end to it if the supervisor ends."""

import os
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

from runjob.schemas.lifeline import set_parent_death_signal
from runjob.schemas.plan import Companion, Stage
from runjob.schemas.processes import LINUX
from runjob.schemas.run import RunDir
from runjob.schemas.secret_names import environment_for

# A rank holds a connection to every other one, for each group of ranks that it is in; most systems give a program 1,024
# open files until it asks for more. More than this is no use to a rank, and slow for programs that close them all.
OPEN_FILES = 65_536


def allow_open_files() -> None:
    """For this process and all that it starts: as many as it may have, up to OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if LINUX and soft != resource.RLIM_INFINITY and soft < wanted:  # macOS has limits that it does not name
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def start_program(
    program: Stage | Companion, run: RunDir, log: Path, *, variables: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """A located program in a process group of its own, with the secrets that it needs; `variables` are the supervisor's
    own. OSError if it can't be started."""
    with log.open("ab") as file:
        return subprocess.Popen(
            program.argv,
            cwd=run.path,
            env={**environment_for(program.name, os.environ), **program.env, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            process_group=0,
            preexec_fn=set_parent_death_signal,  # safe: there is one thread here
        )
