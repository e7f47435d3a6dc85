"""The contract of a launcher: four verbs over a run directory.

A launcher starts a compiled plan somewhere and finds it again, from any other process and on any later day, by the run
directory alone. Nothing else is shared: what the job does is read from files there. `lost` and `unreachable` are
computed by `state` and never written. A launcher that works elsewhere may offer more: what the place has
(`Surveyor`), what it would ask for (`Previewer`), and to bring home what was made there (`Fetcher`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from runjob.schemas.errors import RunjobError
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.records import as_record, damaged, unsealed
from runjob.schemas.run import Attempt, RunDir, Status, read_json

if TYPE_CHECKING:
    from runjob.schemas.job import Job  # 45 ms for the dataclasses, which `validate` and `ps` do without

# How long a submitted job may be without a sign of its supervisor before it counts as lost: a cold Python start takes
# seconds; of fifty at once beside a load of 20 one may take more than fifteen (not shown: docs/reliability.md).
SUBMISSION_GRACE_S = 45.0
# Who hears how far something is that takes its time
Told = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Handle:
    """Where an attempt runs, as handle.json holds it; `facts` are the launcher's own (pid, host, Slurm id...)."""

    launcher: str
    attempt: int
    facts: Mapping[str, str | int]

    def write(self, run: RunDir) -> None:
        run.write_sealed(run.handle, {"launcher": self.launcher, "attempt": self.attempt, **self.facts})


def read_handle(run: RunDir) -> Handle | None:
    return _handle_in(run.handle)


def handle_before(run: RunDir, attempt: Attempt) -> Handle | None:
    """Where the attempt before this one ran: `resume` keeps its handle beside it."""
    return _handle_in(run.attempt(attempt.number - 1).path / run.handle.name)


def _handle_in(file: Path) -> Handle | None:
    """RunjobError of one that is damaged says the way on: whatever else still runs gives way to a later attempt."""
    if not file.exists():
        return None
    try:
        raw = read_json(file)
        if not isinstance(raw, dict):
            raise damaged(file, "it holds no JSON object")
        raw = unsealed(raw, file, way_on="it was changed after it was written")
        own = {name: raw.pop(name) for name in ("launcher", "attempt") if name in raw}
        return as_record({**own, "facts": raw}, Handle, file)
    except RunjobError as error:
        way = "where the job runs is not known; delete this file, and `runjob resume` goes on with it here"
        raise RunjobError(f"{error}; {way}") from error


class StoppedError(RunjobError):
    """The job was cancelled while it was being submitted."""


def refuse_stopped(attempt: Attempt) -> None:
    """For a launcher that takes its time until something runs: between two steps somebody may have thought better."""
    if attempt.stop_request.exists():
        raise StoppedError("cancelled before it started")


def teller(run: RunDir, attempt: Attempt) -> Told:
    """While a copy is sent home's status.json says how far it is: nothing runs yet that could. StoppedError if the job
    was cancelled meanwhile."""

    def told(line: str) -> None:
        refuse_stopped(attempt)
        run.write_status("pending", attempt=attempt.number, message=line)

    return told


class Launcher(Protocol):
    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        """Start the attempt, detached; returns when its handle stands in handle.json. LaunchError if it can't,
        StoppedError if the job was cancelled before anything ran."""
        ...

    def state(self, run: RunDir) -> Status:
        """The job's state now, `lost` and `unreachable` included."""
        ...

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        """The attempt's log files on this machine, brought up to date (as are events.jsonl and progress.json)."""
        ...

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        """Ask the attempt to save and stop; returns at once, `state` says when it has."""
        ...


@dataclass(frozen=True, kw_only=True)
class Start:
    """What `submit` is given, as one of several."""

    run: RunDir
    plan: Plan
    attempt: Attempt


@runtime_checkable
class Gatherer(Protocol):
    """A launcher whose place takes many jobs in one request, and begins each of them by itself when there is room."""

    def submit_together(self, name: str, starts: Sequence[Start]) -> None:
        """As `submit` for each; `name` is that of them all."""
        ...


@runtime_checkable
class Surveyor(Protocol):
    """A launcher that can say what one node of its place has, before a run exists."""

    def survey(self, job: "Job") -> Machine:
        """Asked over the network. MissingError with everything that the job needs and the place lacks."""
        ...


@runtime_checkable
class Previewer(Protocol):
    """A launcher whose request can be shown without making it."""

    def preview(self, job: "Job", plan: Plan) -> str:
        """What `plan --launcher` prints: an sbatch text, a command line, what would be rented. No network."""
        ...


@runtime_checkable
class Revisitor(Protocol):
    """A launcher whose copy of a run somebody else may have taken up again (`adopt` from another home)."""

    def revisit(self, run: RunDir) -> Status:
        """The state there now, asked for although here the job has ended."""
        ...


@runtime_checkable
class Fetcher(Protocol):
    """A launcher whose runs leave their large files elsewhere until they are fetched."""

    def fetch(self, run: RunDir, *, told: Told) -> None:
        """Bring home the newest complete checkpoint, the model and the curves; `told` hears the progress. Goes on where
        an earlier call broke off."""
        ...


@runtime_checkable
class Lender(Protocol):
    """A fetcher whose places are there for a while only."""

    def gone_when(self, run: RunDir) -> str:
        """When what was not fetched is gone, as the end of `it is gone when ...`."""
        ...


@runtime_checkable
class Foreseer(Protocol):
    """A launcher that knows without a network what one node of its place will have."""

    def foresee(self, job: "Job") -> Machine | None:
        """For `plan`; None where only the place itself could say."""
        ...


@runtime_checkable
class Reckoner(Protocol):
    """A launcher that can say how long its place would train."""

    def training_time(self, job: "Job", plan: Plan) -> str:
        """For a table: `about 3 h`; `unknown` where nobody can say. Of what it is made stands in `preview`."""
        ...


@runtime_checkable
class Timekeeper(Protocol):
    """A launcher whose places end by themselves, maybe before the job does, or take less along than one may think."""

    def in_time(self, job: "Job", plan: Plan, machine: Machine, *, done: int) -> tuple[str, ...]:
        """Before a run is sent there, of which `done` steps are made: what its user should hear. MissingError where the
        rest can't end in time, whatever happens, and would be lost. Asks nobody."""
        ...


@runtime_checkable
class Requeuer(Protocol):
    """A launcher whose place may be taken away, and from which a job goes on in another of the same kind."""

    def goes_on(self, run: RunDir, status: Status) -> str:
        """Why the next attempt is to begin by itself, now that the job has stopped like this; empty where it is not."""
        ...
