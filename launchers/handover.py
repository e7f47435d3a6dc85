"""Whose word counts when a job moves from one place to another.

handle.json names the place that has the job. A launcher that keeps a copy elsewhere writes news into the run here only
while it is `held_by` its handle; `resume` gives the job to another place by `hand_over`. The two exclude each other, so
that nothing of a place that the job has left is ever written here again, whatever that place still does and whoever is
just looking at it.
"""

import contextlib
from collections.abc import Iterator

from runjob.launchers.base import Handle, read_handle
from runjob.schemas.errors import LaunchError
from runjob.schemas.file_lock import held
from runjob.schemas.links import refuse_links_out
from runjob.schemas.run import RunDir

# A holder renames a few files. One that was stopped in the middle (SIGSTOP, a laptop's lid) must not hang the others.
PATIENCE_S = 10.0


@contextlib.contextmanager
def held_by(run: RunDir, handle: Handle) -> Iterator[bool]:
    """While the body runs the job can't change its place. False: it has, and nothing of `handle`'s may be written."""
    with _held(run):
        yield read_handle(run) == handle


@contextlib.contextmanager
def only_held_by(run: RunDir, handle: Handle) -> Iterator[None]:
    """As `held_by`; LaunchError if the job has gone on meanwhile, for whoever was busy bringing things home."""
    with held_by(run, handle) as ours:
        if not ours:
            raise LaunchError(
                f"{run.id} has gone to another place meanwhile; nothing more comes home from the last one"
            )
        yield


def hand_over(run: RunDir, handle: Handle) -> None:
    """From now on the job is with this handle's launcher. Without facts it says that nothing was started there yet."""
    with _held(run):
        handle.write(run)


def _held(run: RunDir) -> contextlib.AbstractContextManager[None]:
    refuse_links_out(run)
    path = run.path / ".handover.lock"
    busy = LaunchError(f"{run.id}: another process has held {path} for {PATIENCE_S:.0f} s")
    return held(path, patience_s=PATIENCE_S, busy=busy, broken=LaunchError)
