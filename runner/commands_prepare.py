"""`prepare`: a job's data and nothing else, and what there is to be said about them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.runner.command import Command, add_json, add_sets
from runjob.runner.text import print_json
from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.plan import NO_TELEMETRY
from runjob.schemas.run import Attempt, RunDir, home, make_home, read_json

if TYPE_CHECKING:
    from runjob.schemas.read import Resolved


def run_prepare(args: Namespace) -> int:
    """Of a matrix every corpus that its cells have, one after another; the code is the first that is not 0."""
    from runjob.runner.from_run import settle_runs
    from runjob.schemas.read import read_cells

    jobs = [settle_runs(cell.resolved) for cell in read_cells(Path(args.file), args.sets)]
    # what is prepared is a function of these, and of two cells that share it the second would only find it
    corpora = {json.dumps([job.values[key] for key in ("data", "seed")]): job for job in jobs}
    codes = [prepare_one(resolved, args) for resolved in corpora.values()]
    return next(filter(None, codes), 0)


def prepare_one(resolved: "Resolved", args: Namespace) -> int:
    """The plan's own prepare stage in the foreground, in a run directory that is thrown away: the store outlives it."""
    from runjob.runner.local_files import missing_data_files
    from runjob.schemas.read import JobFileError, write_job_json

    if absent := missing_data_files(resolved):
        raise JobFileError(absent)
    make_home(home())
    scratch = Path(tempfile.mkdtemp(prefix=".prepare-", dir=home()))
    try:
        run = RunDir(scratch)
        shutil.copyfile(args.file, run.job_yaml)
        write_job_json(run.job, resolved)
        run.attempts.mkdir()
        return prepare_in(run, run.new_attempt(), statistics=args.stats, as_json=args.json)
    finally:
        shutil.rmtree(scratch)


def prepare_in(run: RunDir, attempt: Attempt, *, statistics: bool, as_json: bool) -> int:
    """What is said on the way goes to standard error where standard output is for JSON."""
    from runjob.runner.compile import prepare_stage

    stage = prepare_stage().located(run=str(run.path), python=sys.executable)
    code = start((*stage.argv, "--every-byte"), attempt, to_stderr=as_json)
    if code == 0 and statistics:
        argv = tuple(word.replace("worker.prepare", "worker.statistics") for word in stage.argv)
        code = start(argv, attempt, to_stderr=as_json)
    said = attempt.read_exit()
    if said is not None:  # the stage has said why on the standard error that it shares with us
        return said.code
    if code == 0:
        show(run, statistics=statistics, as_json=as_json)
    return 0 if code == 0 else 1


def start(argv: tuple[str, ...], attempt: Attempt, *, to_stderr: bool) -> int:
    environment = {**os.environ, **NO_TELEMETRY, ATTEMPT_VARIABLE: str(attempt.number)}
    return subprocess.run(argv, env=environment, check=False, stdout=sys.stderr if to_stderr else None).returncode


def show(run: RunDir, *, statistics: bool, as_json: bool) -> None:
    from runjob.runner.statistics_text import statistics_text
    from runjob.schemas.statistics import Statistics

    store = run.read_data()["store"]
    if as_json:
        print_json(read_json(run.statistics) if statistics else {"store": store})
        return
    if statistics:
        print(f"\n{statistics_text(Statistics.from_json(read_json(run.statistics)))}\n")
    print(f"prepared: {store}")


def configure_prepare(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.yaml", help="a job file")
    parser.add_argument(
        "--stats", action="store_true", help="lengths, tokens a word, copies, shares of the sources, a sample"
    )
    add_sets(parser)
    add_json(parser)


COMMANDS = (
    Command(
        name="prepare",
        examples=(
            "runjob prepare jobs/mine.yaml",
            "runjob prepare jobs/mine.yaml --stats",
        ),
        usage="FILE [--stats]",
        summary="only the tokenised corpus",
        configure=configure_prepare,
        run=run_prepare,
    ),
)
