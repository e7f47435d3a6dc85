"""`runjob JOB.yaml`, `resume` and `verify-resume`: the commands that start something."""

import contextlib
import shlex
import shutil
import sys
import tempfile
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.runner.command import (
    Command,
    add_at_once,
    add_detach,
    add_id_or_group,
    add_json,
    add_launcher,
    add_quiet,
    add_sets,
)
from runjob.runner.commands_fetch import fetch_at_the_end, tell, tell_of_loss
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.group import GroupDir, find_jobs
from runjob.schemas.run import EXIT_CODES, RunDir, Status, home, make_home

if TYPE_CHECKING:
    from runjob.schemas.job import Job

TELL_S = 0.3


def run_submit(args: Namespace) -> int:
    from runjob.launchers import find_launcher
    from runjob.runner.begin import create, start
    from runjob.schemas.read import read_cells

    find_launcher(args.launcher)
    source = Path(args.file)
    cells = read_cells(source, args.sets)
    if cells[0].number:
        from runjob.runner.follow_group import submit_group

        refuse_quiet(args)
        return submit_group(cells, source=source, launcher=args.launcher, at_once=args.at_once, detach=args.detach)
    refuse_at_once(args)
    resolved = cells[0].resolved
    created = create(resolved, source=source, launcher=args.launcher, told=tell)
    print(created.run.id, flush=True)
    with showing_submission(created.run):
        start(created)
    return after_start(created.run, resolved.job, detach=args.detach, quiet=args.quiet)


def run_resume(args: Namespace) -> int:
    from runjob.runner.resume import Wish, resume
    from runjob.schemas.read import read_job_json

    run = find_jobs(home(), args.id)
    if isinstance(run, GroupDir):
        from runjob.runner.follow_group import resume_group

        refuse_quiet(args)
        return resume_group(run, args)
    refuse_at_once(args)
    wish = Wish(sets=tuple(args.sets), start_from=args.start_from, accept=args.accept, launcher=args.launcher)
    with showing_submission(run):
        lines = resume(run, wish, told=tell)
    print(run.id)
    if not args.quiet:
        print("\n".join(lines), flush=True)
    return after_start(run, read_job_json(run.job).job, detach=args.detach, quiet=args.quiet)


def refuse_at_once(args: Namespace) -> None:
    if args.at_once is not None:
        raise JobError(f"--at-once {args.at_once}: it is one job, and no matrix of several")


def refuse_quiet(args: Namespace) -> None:
    if args.quiet:
        raise JobError("--quiet follows one job; of a matrix there is a table, or --detach")


@contextlib.contextmanager
def showing_submission(run: RunDir) -> Iterator[None]:
    """A launcher that copies and installs says how far it is in status.json, and this says it on; one that only starts
    a process is done before there is anything to say."""
    done = threading.Event()

    def show() -> None:
        said = ""
        while not done.wait(TELL_S):
            with contextlib.suppress(RunjobError):
                status = run.read_status()
                if status.state == "pending" and status.message not in ("", said):
                    said = status.message
                    tell(said)

    teller = threading.Thread(target=show, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def after_start(run: RunDir, job: "Job", *, detach: bool, quiet: bool) -> int:
    """Say how to watch, then watch, unless told not to."""
    if job.tracking.tensorboard and not quiet:
        print(f"curves: {shlex.join([tensorboard_program(), '--logdir', str(run.tensorboard)])}", flush=True)
    if detach:
        if not quiet:
            print(f"follow with: runjob logs -f {run.id}", flush=True)
        tell_of_loss(run)
        return 0
    return follow_to_the_end(run, quiet=quiet)


def tensorboard_program() -> str:
    """As the user has to type it: the bare name where it is on the PATH, else the one beside our interpreter."""
    return "tensorboard" if shutil.which("tensorboard") else str(Path(sys.executable).with_name("tensorboard"))


def follow_to_the_end(run: RunDir, *, quiet: bool) -> int:
    from runjob.runner.follow import follow
    from runjob.runner.requeue import begin_next, goes_on
    from runjob.runner.why.answer import answer, as_text

    status = follow(run, quiet=quiet)
    while status is not None and (why := goes_on(run, status)):
        print(f"{run.id} is {status.state}: {status.message}\n{why}", flush=True)
        with showing_submission(run):
            begun = begin_next(run, status, told=tell)
        if not begun:
            break
        status = follow(run, quiet=quiet)
    if status is None:
        print(f"detached; runjob status {run.id}, runjob logs -f {run.id}, runjob cancel {run.id}", flush=True)
        tell_of_loss(run)
        return 0
    said = f"{run.id} is {status.state}" + (f": {status.message}" if status.message else "")
    print(said, flush=True)
    all_here = status.state == "lost" or fetch_at_the_end(run)
    if status.state in ("failed", "lost"):
        print(as_text(answer(run, status)), file=sys.stderr)
    for hint in () if quiet else (*next_commands(run, status.state), *way_to_upload(run)):
        print(f"  {hint}")
    # a model that could not be brought home is a service that could not be reached
    return exit_code(run, status) or int(not all_here)


def exit_code(run: RunDir, status: Status) -> int:
    """By the outcome; a failure has the code that its own stage gave it (2: something the job needs was missing)."""
    said = run.attempt(status.attempt).read_exit() if status.state == "failed" else None
    return said.code if said is not None else EXIT_CODES[status.state]


def next_commands(run: RunDir, state: str) -> list[str]:
    match state:
        case "finished":
            from runjob.schemas.label_rules import BESIDE_TEXT
            from runjob.schemas.read import read_job_json

            job = read_job_json(run.job).job
            use = "fill-mask" if job.objective.kind in ("mlm", "plm") else "generate"
            asked = "" if job.evaluation.prompts else " --interactive"
            uses = [] if job.objective.kind in BESIDE_TEXT else [f"runjob {use} {run.id}{asked}"]
            return [*uses, f"runjob export {run.id} --to DIR", f"model: {run.model}"]
        case "failed":
            return [f"runjob why {run.id}", f"runjob resume {run.id}"]
        case _:
            return [f"runjob resume {run.id}"]


def way_to_upload(run: RunDir) -> list[str]:
    from runjob.schemas.upload import read_upload

    upload = read_upload(run)
    return [f"runjob upload {run.id}"] if upload is not None and upload.problem() else []


def run_verify(args: Namespace) -> int:
    from runjob.runner.place import runs_here
    from runjob.runner.verify import verify

    if not runs_here(args.launcher):
        said = "it kills processes of this machine; what it shows holds wherever the same code runs"
        raise JobError(f"verify-resume --launcher {args.launcher}: {said}")
    make_home(home())
    scratch = Path(tempfile.mkdtemp(prefix=".verify-", dir=home()))
    equal = verify(
        Path(args.file),
        args.sets,
        kill_at=tuple(args.kill_at),
        home=scratch,
        launcher=args.launcher,
        as_json=args.json,
    )
    if equal and not args.keep:
        shutil.rmtree(scratch)
    else:
        print(f"the runs are under {scratch}", file=sys.stderr)
    return 0 if equal else 1


def configure_submit(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.yaml", help="a job file")
    add_sets(parser)
    add_launcher(parser, default="local")
    add_detach(parser)
    add_at_once(parser)
    add_quiet(parser)


def configure_resume(parser: ArgumentParser) -> None:
    add_id_or_group(parser)
    add_sets(parser)
    add_launcher(parser, default=None)
    add_detach(parser)
    add_at_once(parser)
    add_quiet(parser)
    parser.add_argument(
        "--from",
        default="latest",
        dest="start_from",
        metavar="STEP|best",
        help="the checkpoint to go on from (default: the newest complete one)",
    )
    parser.add_argument("--accept", action="store_true", help="yes, I mean the change that was questioned")


def configure_verify(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.yaml", help="a job file")
    add_sets(parser)
    add_launcher(parser, default="local")
    parser.add_argument(
        "--kill-at",
        type=int,
        nargs="+",
        default=(),
        metavar="STEP",
        help="steps to kill it at (default: after a third and two thirds)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the runs, also if they are equal")
    add_json(parser)


SUBMIT = Command(
    name="",
    examples=(
        "runjob jobs/tiny/gpt2_dutch.yaml",
        "runjob jobs/mine.yaml --set training.learning_rate=3e-4 --detach",
        "runjob --launcher slurm jobs/mine.yaml",
    ),
    usage="JOB.yaml",
    summary="validate, submit and follow a job",
    configure=configure_submit,
    run=run_submit,
)
COMMANDS = (
    Command(
        name="resume",
        examples=(
            "runjob resume latest",
            "runjob resume gpt2_dutch-1a2b --from best --detach",
            "runjob resume latest --launcher slurm --set training.length='4000 steps'",
        ),
        usage="ID",
        summary="go on from the newest checkpoint",
        configure=configure_resume,
        run=run_resume,
    ),
    Command(
        name="verify-resume",
        examples=(
            "runjob verify-resume jobs/tiny/gpt2_dutch.yaml",
            "runjob verify-resume jobs/mine.yaml --kill-at 40 90",
        ),
        usage="FILE",
        summary="kill, resume and compare to an unbroken run",
        configure=configure_verify,
        run=run_verify,
    ),
)
