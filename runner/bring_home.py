"""What a job made elsewhere and what is too large to come by itself: checkpoints and the model."""

from collections.abc import Callable

from runjob.launchers.base import Fetcher, Lender
from runjob.runner.lock import fetching
from runjob.runner.runs import launcher_of
from runjob.schemas.run import RunDir


def bring_home(run: RunDir, *, told: Callable[[str], None]) -> None:
    """Nothing to do for a job of this machine. LaunchError where its place can't be reached: it is all there still,
    and `way_to_fetch` brings it."""
    launcher = launcher_of(run)
    if isinstance(launcher, Fetcher):
        with fetching(run):
            launcher.fetch(run, told=told)


def way_to_fetch(run: RunDir) -> str:
    """What to type later, and until when."""
    launcher = launcher_of(run)
    gone = f"\nit is gone when {launcher.gone_when(run)}" if isinstance(launcher, Lender) else ""
    return f"runjob fetch {run.id}{gone}"
