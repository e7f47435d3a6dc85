"""`adopt`: make a job that was begun elsewhere one of the jobs here, under its own id."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from runjob.runner.command import Command
from runjob.schemas.errors import JobError
from runjob.schemas.run import RunDir, home
from runjob.schemas.urls import is_url


def run_adopt(args: Namespace) -> int:
    if is_url(args.place):
        return adopt_copy(args.place)
    if ":" in args.place:
        return adopt_from_host(args.place, config_file=args.config_file)
    raise JobError(
        f"{args.place}: expected HOST:PATH such as gpu-box:~/.runjob/runs/NAME-1a2b3c4d, or an address such as "
        "s3://bucket/runs/NAME-1a2b3c4d (output.remote and the id)"
    )


def adopt_from_host(place: str, *, config_file: str | None) -> int:
    """From the host where it runs, or ran."""
    from runjob.launchers.ssh_adopt import adopt_over_ssh
    from runjob.runner.commands_fetch import tell

    config = str(Path(config_file).absolute()) if config_file is not None else None
    print(told_after(adopt_over_ssh(place, home=home(), config_file=config, told=tell)))
    return 0


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
        case "finished" if not run.model.is_dir():
            lines.append(f"to bring its model here: runjob fetch {run.id}")
        case "finished":
            lines.append(f"model: {run.model}")
        case "pending" | "running" | "stopping":
            lines.append(f"runjob logs -f {run.id}, runjob cancel {run.id}")
        case _:
            lines.append(f"to go on: runjob resume {run.id}")
    return "\n".join(lines)


def configure_adopt(parser: ArgumentParser) -> None:
    parser.add_argument(
        "place",
        metavar="HOST:PATH|URL",
        help="its run directory on a host (gpu-box:~/.runjob/runs/NAME-1a2b3c4d), or output.remote and the id "
        "(s3://bucket/runs/NAME-1a2b3c4d)",
    )
    parser.add_argument("--config-file", metavar="FILE", help="configuration for ssh (-F) instead of your own")


COMMANDS = (
    Command(
        name="adopt",
        examples=(
            "runjob adopt gpu-box:~/.runjob/runs/gpt2_dutch-1a2b3c4d",
            "runjob adopt s3://bucket/runs/gpt2_dutch-1a2b3c4d",
        ),
        usage="HOST:PATH|URL",
        summary="take over a job from another place",
        configure=configure_adopt,
        run=run_adopt,
    ),
)
