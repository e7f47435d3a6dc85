"""`fetch`: bring home what a job made elsewhere and what is too large to come by itself."""

import sys
from argparse import ArgumentParser, Namespace

from runjob.runner.command import Command, add_id
from runjob.schemas.run import RunDir, find_run, home


def run_fetch(args: Namespace) -> int:
    from runjob.launchers.base import Fetcher
    from runjob.runner.bring_home import bring_home
    from runjob.runner.runs import launcher_name, launcher_of

    run = find_run(home(), args.id)
    launcher = launcher_of(run)
    if not isinstance(launcher, Fetcher):
        print(f"{run.id} is with the launcher {launcher_name(run)}: all that it makes is in {run.path}")
        return 0
    bring_home(run, told=tell)
    print(what_is_here(run))
    return 0


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def what_is_here(run: RunDir) -> str:
    from runjob.runner.runs import checkpoint_steps

    steps = ", ".join(map(str, checkpoint_steps(run))) or "none"
    model = str(run.model) if run.model.is_dir() else "none yet"
    return f"here now: checkpoints {steps}; model {model}"


def fetch_at_the_end(run: RunDir) -> bool:
    """After a job that was watched to its end. False where it is still there, with the command that goes on."""
    from runjob.runner.bring_home import bring_home, way_to_fetch
    from runjob.schemas.errors import LaunchError, MissingError, StateError

    try:
        bring_home(run, told=tell)
        return True
    except (LaunchError, MissingError, StateError) as error:
        tell(f"{error}\nwhat it made is still there; to bring it home: {way_to_fetch(run)}")
    except KeyboardInterrupt:
        tell(f"interrupted; the rest is still there, to go on: {way_to_fetch(run)}")
    return False


def tell_of_loss(run: RunDir) -> None:
    """To whoever leaves a job alone at a place that is there for a while only, and has named no other for what it
    makes."""
    from runjob.launchers.base import Lender
    from runjob.runner.runs import launcher_of
    from runjob.schemas.read import read_job_json

    launcher = launcher_of(run)
    if isinstance(launcher, Lender) and read_job_json(run.job).job.output.remote is None:
        tell(
            f"what it makes is gone when {launcher.gone_when(run)}: bring it home with `runjob logs -f {run.id}` or "
            f"`runjob fetch {run.id}`, or name output.remote next time"
        )


def configure_fetch(parser: ArgumentParser) -> None:
    add_id(parser)


COMMANDS = (
    Command(
        name="fetch",
        examples=("runjob fetch latest",),
        usage="ID",
        summary="bring home what it made elsewhere",
        configure=configure_fetch,
        run=run_fetch,
    ),
)
