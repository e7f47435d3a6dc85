"""`upload`: send to `output.remote` what a job that has ended could not bring there."""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace

from runjob.runner.command import Command, add_id
from runjob.runner.commands_fetch import tell
from runjob.schemas.errors import JobError, StateError
from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, Status, find_run, home, read_json, write_json
from runjob.schemas.upload import read_upload


def run_upload(args: Namespace) -> int:
    from runjob.runner.asking import state_soon
    from runjob.runner.lock import locked
    from runjob.schemas.read import read_job_json

    run = find_run(home(), args.id)
    if read_job_json(run.job).job.output.remote is None:
        raise JobError(f"{run.id}: its job names no output.remote; there is nowhere to upload to")
    with locked(run, patience_s=0.0):
        status = state_soon(run)
        check_ended(run, status)
        bring_home(run)
        attempt = run.attempt(status.attempt)
        message = own_message(attempt, status)
        write_json(attempt.ending, {"state": status.state, "message": message, "time": time.time()})
        upload(run, attempt)
        found = read_upload(run)
        problem = found.problem() if found is not None else "nothing was uploaded"
        run.write_status(status.state, attempt=attempt.number, message="; ".join(filter(None, [message, problem])))
    print(f"{run.id}: {problem}" if problem or found is None else found.describe())
    return int(bool(problem))


def check_ended(run: RunDir, status: Status) -> None:
    if status.state in ALIVE_STATES:
        raise StateError(f"{run.id} is {status.state}, and its own uploader is at work: runjob status {run.id}")
    if status.state in ("lost", "unreachable"):
        raise StateError(
            f"{run.id} is {status.state}: {status.message}. It uploads when it goes on: runjob resume {run.id}"
        )


def bring_home(run: RunDir) -> None:
    """A job that ran elsewhere left its checkpoints and its model there."""
    from runjob.launchers.base import Fetcher
    from runjob.runner.lock import fetching
    from runjob.runner.runs import is_elsewhere, launcher_of

    launcher = launcher_of(run)
    if is_elsewhere(run) and isinstance(launcher, Fetcher):
        with fetching(run):
            launcher.fetch(run, told=tell)


def own_message(attempt: Attempt, status: Status) -> str:
    """How the job ended, without what was said of the upload."""
    ending = read_json(attempt.ending) if attempt.ending.exists() else {}
    return str(ending["message"]) if ending and ending["state"] == status.state else status.message


def upload(run: RunDir, attempt: Attempt) -> None:
    """The uploader's last round again; its lines go to its log and to whoever waits."""
    command = [sys.executable, "-m", "runjob.runner.worker.upload", str(run.path)]
    env = {**os.environ, ATTEMPT_VARIABLE: str(attempt.number)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with attempt.stage_log("upload").open("a", encoding="utf-8") as log:
        for line in process.stdout or ():
            log.write(line)
            tell(line.rstrip())
    process.wait()


def configure_upload(parser: ArgumentParser) -> None:
    add_id(parser)


COMMANDS = (
    Command(
        name="upload",
        examples=("runjob upload latest",),
        usage="ID",
        summary="send what output.remote lacks",
        configure=configure_upload,
        run=run_upload,
    ),
)
