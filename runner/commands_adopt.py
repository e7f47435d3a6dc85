"""`adopt`: make a job that was begun elsewhere one of the jobs here, under its own id."""

from argparse import ArgumentParser, Namespace

from runjob.runner.command import Command
from runjob.schemas.errors import JobError
from runjob.schemas.run import RunDir, home
from runjob.schemas.urls import is_url


def run_adopt(args: Namespace) -> int:
    if is_url(args.place):
        return adopt_copy(args.place)
    raise JobError(
        f"{args.place}: expected an address such as s3://bucket/runs/NAME-1a2b3c4d (output.remote and the id)"
    )


def adopt_copy(url: str) -> int:
    """From output.remote. The work is the worker's, which knows what a whole checkpoint is."""
    from runjob.data.remote import find_problem
    from runjob.runner.commands_model import run_worker

    problem = find_problem(url, where="adopt")
    if problem is not None:
        raise problem
    code = run_worker("adopt", [url, str(home())])
    if code == 0:
        print(told_after(RunDir(home() / url.rstrip("/").rpartition("/")[2])))
    return code


def told_after(run: RunDir) -> str:
    """What state it is in, and what to type."""
    from runjob.runner.runs import state_of

    status = state_of(run)
    lines = [f"{run.id} is {status.state}" + (f": {status.message}" if status.message else "")]
    match status.state:
        case "unreachable":
            lines.append(f"if it surely runs there no more: runjob resume {run.id} --accept")
        case "finished":
            lines.append(f"model: {run.model}")
        case _:
            lines.append(f"to go on: runjob resume {run.id}")
    return "\n".join(lines)


def configure_adopt(parser: ArgumentParser) -> None:
    parser.add_argument("place", metavar="URL", help="output.remote and the id: s3://bucket/runs/NAME-1a2b3c4d")


COMMANDS = (
    Command(
        name="adopt",
        usage="URL",
        summary="take over a job from its remote copy",
        configure=configure_adopt,
        run=run_adopt,
    ),
)
