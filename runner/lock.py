"""One submission, resume, cancel or upload of a job at a time."""

import contextlib

from runjob.schemas.errors import RunjobError, StateError
from runjob.schemas.file_lock import held
from runjob.schemas.links import refuse_links_out
from runjob.schemas.run import RunDir

# A model of gigabytes over a slow line
FETCH_PATIENCE_S = 1800.0


def locked(run: RunDir, *, patience_s: float) -> contextlib.AbstractContextManager[None]:
    """Hold the run's lock, which ends with this process however it ends; StateError if another keeps it too long.
    RunjobError where a link would have us write out of the run."""
    refuse_links_out(run)
    said = f"{run.id} is being submitted, resumed, cancelled or uploaded by somebody else; look with `runjob ps`"
    return held(run.lock, patience_s=patience_s, busy=StateError(said), broken=RunjobError)


def fetching(run: RunDir) -> contextlib.AbstractContextManager[None]:
    """Of two who follow a job to its end one fetches; the other waits, and finds that all is here."""
    refuse_links_out(run)
    busy = StateError(f"{run.id} is being fetched by somebody else")
    return held(run.path / ".fetching.lock", patience_s=FETCH_PATIENCE_S, busy=busy, broken=RunjobError)
