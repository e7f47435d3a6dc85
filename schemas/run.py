"""The run directory: the one thing that control and worker share, every file name in one class.

Files appear by write-then-rename and are readable with `cat`. Who writes what stands in docs/architecture.md; in
short: the supervisor writes status.json while it lives, rank 0 writes progress.json and events.jsonl, and nobody else
does.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runjob.schemas.causes import Cause, read_causes
from runjob.schemas.errors import NotFoundError, RunjobError
from runjob.schemas.frozen import knows_sums
from runjob.schemas.json_object import read_object
from runjob.schemas.records import as_record, damaged, refuse_broken_seal, sealed, unsealed

State = Literal["pending", "running", "stopping", "preempted", "finished", "failed", "cancelled", "lost", "unreachable"]
STORED_STATES = ("pending", "running", "stopping", "preempted", "finished", "failed", "cancelled")
ALIVE_STATES = ("pending", "running", "stopping")
EXIT_CODES = {"finished": 0, "failed": 1, "lost": 1, "unreachable": 1, "preempted": 75, "cancelled": 130}
# Beside the runs: what belongs to several of them (schemas/group.py)
GROUPS = "groups"
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}-[0-9a-f]{8}")


def write_atomic(path: Path, text: str) -> None:
    """Write beside, fsync, rename: a reader sees the old text or the new one, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def sync_path(path: Path) -> None:
    """The bytes of a file, or the names in a folder, are on the disk when this returns: a rename is only safe once the
    directory that holds the name is there too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value of a file; RunjobError names the file if it holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunjobError(f"{path}: can't be read: {error}") from error


def read_sealed(path: Path, *, way_on: str) -> dict[str, Any]:
    """The JSON object of a file that carries a sum of itself; RunjobError names the file, and the way on, if it isn't
    what was written."""
    try:
        raw = read_json(path)
    except RunjobError as error:
        raise RunjobError(f"{error}; {way_on}") from error
    if not isinstance(raw, dict):
        raise damaged(path, f"it holds no JSON object; {way_on}")
    refuse_broken_seal(raw, path, way_on=way_on)
    return raw


def parse_event(line: bytes) -> dict[str, Any] | None:
    """A record of events.jsonl, which has at least these three; None of a line that is damaged."""
    try:
        record = json.loads(line)
        whole = isinstance(record["event"], str) and type(record["step"]) is int and type(record["attempt"]) is int
    except (ValueError, TypeError, KeyError):
        return None
    return record if whole else None


@dataclass(frozen=True, kw_only=True)
class Status:
    """What status.json holds; `message` says why for a human, e.g. how the process ended."""

    state: State
    attempt: int
    updated: float
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """What rank 0 (or a stage before it) says of its own end in attempts/N/exit.json, and another rank that fails in
    attempts/N/rank-R.json; of a run that has hung the supervisor says it. Of a failure `reason` is the error's class
    (schemas/errors.py); `causes` are it and what it was raised from."""

    outcome: Literal["finished", "preempted", "cancelled", "failed"]
    code: int
    step: int
    reason: str
    error: str = ""
    causes: tuple[Cause, ...] = ()


class Within:
    """A file of a run or an attempt by its name; the Path is made when it is asked for, since twenty of them take ten
    times as long as the one or two that a reader needs of each of ten thousand runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: "RunDir | Attempt", kind: type) -> Path:
        return owner.path / self.name


class Attempt:
    """`attempts/N/`: logs and outcome of one start of the job."""

    exit = Within("exit.json")
    discarded = Within("discarded.jsonl")
    plan = Within("plan.json")
    deepspeed = Within("deepspeed.json")
    supervisor_log = Within("supervisor.log")
    # What a launcher kept of a start that never came to write logs of its own
    launcher_log = Within("launcher.log")
    # Its presence asks the job to save and stop at the next step: {"reason": "cancel" | "preempt", "time": ...}
    stop_request = Within("stop.json")
    # How its stages ended, without any words, and what its place said of it from outside (schemas/ended.py)
    ended = Within("ended.json")
    place_word = Within("place.json")
    # Its stages have ended: {"state", "message", "time"}, for companions that have something left to do
    ending = Within("ending.json")
    # Where the nodes of a job meet, said by node 0 when the data are prepared: {"master": address, "port": number}
    meeting = Within("meeting.json")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = int(path.name)

    def stage_log(self, stage: str) -> Path:
        return self.path / f"{stage}.log"

    def node_end(self, node: int) -> Path:
        """How the training ended on another node than the first."""
        return self.path / f"node-{node}.json"

    def rank_log(self, rank: int) -> Path:
        return self.path / f"rank-{rank}.log"

    def rank_exit(self, rank: int) -> Path:
        """What a rank but the first says of its failure; rank 0 says it in exit.json."""
        return self.exit if rank == 0 else self.path / f"rank-{rank}.json"

    def read_exit(self, rank: int = 0) -> Exit | None:
        path = self.rank_exit(rank)
        if not path.exists():
            return None
        raw = read_json(path)
        before_causes = {"causes": [], **raw} if isinstance(raw, dict) else raw
        said = as_record(before_causes, Exit, path)
        read: Any = said.causes  # of JSON, still
        try:
            return dataclasses.replace(said, causes=read_causes(read))
        except (KeyError, TypeError) as error:
            raise damaged(path, f"causes: {error!r}") from error

    def write_exit(self, value: Exit, rank: int = 0) -> None:
        write_json(self.rank_exit(rank), dataclasses.asdict(value))

    def request_stop(self, reason: Literal["cancel", "preempt"], *, note: str = "") -> None:
        """The first request stands: a cancel during a preemption, or the other way round, changes nothing but
        `cancel`, which wins (the user's word over the machine's). `note` says who wants it, for status.json."""
        if reason == "cancel" or not self.stop_request.exists():
            write_json(self.stop_request, {"reason": reason, "time": time.time(), "note": note})

    def stop_reason(self) -> Literal["cancel", "preempt"] | None:
        """That the file is there asks to save and stop; one that is damaged says no more than that."""
        if not self.stop_request.exists():
            return None
        return "cancel" if read_object(self.stop_request).get("reason") == "cancel" else "preempt"

    def stop_note(self) -> str:
        """Who wanted the stop, where the request says so: `spot interruption at 2026-11-21T22:00:00Z`."""
        request = read_object(self.stop_request)
        return str(request["note"]) if "note" in request else ""


class RunDir:
    """Every file of one run by name. `RunDir(path)` describes; `RunDir.create` makes."""

    job_yaml = Within("job.yaml")
    # The files that job.yaml extends, as they were: 1-base.yaml, ...
    bases = Within("bases")
    # Of a cell of a matrix: {"group": id, "number": from 1, "varied": {path: value}}
    cell = Within("cell.json")
    job = Within("job.json")
    # Of a copy elsewhere: job.json as it is at home, where the inputs lie elsewhere
    job_of_home = Within("job.home.json")
    plan = Within("plan.json")
    deepspeed = Within("deepspeed.json")
    handle = Within("handle.json")
    status = Within("status.json")
    progress = Within("progress.json")
    events = Within("events.jsonl")
    code = Within("code")
    attempts = Within("attempts")
    checkpoints = Within("checkpoints")
    latest = Within("checkpoints/LATEST")
    tensorboard = Within("tensorboard")
    # What Weights & Biases writes here, and which records it was given (runner/worker/tracking.py)
    wandb = Within("wandb")
    wandb_given = Within("wandb.json")
    # Traces and tables of the steps that `tracking.profile` names
    profile = Within("profile")
    model = Within("model")
    # Every tensor of the network and where it came from: loaded, new, tied
    init = Within("init.json")
    # How a rented machine is reached, and what was rented (launchers/aws_login.py, aws_books.py)
    aws = Within("aws")
    lock = Within(".lock")
    # Of a streamed run: the index of its blocks (data/blocks.py), and why its reader gave up
    stream = Within("stream")
    stream_failure = Within("stream/failure.json")
    # Numbers about that store, where `prepare --stats` asked for them
    statistics = Within("statistics.json")
    # What the finished model made of the job's own prompts, an object a line (runner/worker/prompts.py)
    samples = Within("samples.jsonl")
    # Where `prepare` says which store it made: {"store": path, "fingerprint": hex, "origin": what it was made from}
    data = Within("data.json")
    # The class of a failure, once somebody has asked for it (runner/verdict.py)
    verdict = Within("verdict.json")
    # How far the copy at `output.remote` is behind this directory (schemas/upload.py)
    upload = Within("upload.json")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @staticmethod
    def create(home: Path, name: str) -> "RunDir":
        """A new private directory `<name>-<8 random hex>` under `home`."""
        import secrets  # 8 ms that reading a run does without

        make_home(home)
        while True:
            with contextlib.suppress(FileExistsError):
                return RunDir.make(home / f"{name}-{secrets.token_hex(4)}")

    @staticmethod
    def make(path: Path) -> "RunDir":
        """The private directory itself; FileExistsError if it is there."""
        path.mkdir(mode=0o700)
        run = RunDir(path)
        run.attempts.mkdir()
        run.checkpoints.mkdir()
        return run

    def stream_index(self, fingerprint: str) -> Path:
        """Of the stream with this fingerprint: if the source is another one some day, so is the index."""
        return self.stream / f"{fingerprint[:16]}.jsonl"

    def new_attempt(self) -> Attempt:
        """The next attempt's directory; mkdir decides between two who ask at once, the loser sees FileExistsError."""
        number = max((attempt.number for attempt in self.list_attempts()), default=0) + 1
        path = self.attempts / str(number)
        path.mkdir()
        return Attempt(path)

    def list_attempts(self) -> list[Attempt]:
        names = [entry.name for entry in self.attempts.iterdir()] if self.attempts.is_dir() else []
        return [Attempt(self.attempts / str(number)) for number in sorted(int(n) for n in names if n.isdecimal())]

    def attempt(self, number: int) -> Attempt:
        return Attempt(self.attempts / str(number))

    def read_data(self) -> dict[str, Any]:
        way_on = "delete it: the data are looked up anew, and a checkpoint refuses others than its own"
        return read_sealed(self.data, way_on=way_on)

    def read_status(self) -> Status:
        way_on = "a job that runs writes it anew within seconds, and `runjob resume` goes by what the attempts say"
        status = as_record(unsealed(read_json(self.status), self.status, way_on=way_on), Status, self.status)
        if status.state not in STORED_STATES:
            raise damaged(self.status, f"state is {status.state!r}")
        return status

    def write_status(self, state: State, *, attempt: int, message: str = "", code: Path | None = None) -> None:
        if state not in STORED_STATES:
            raise ValueError(f"{state} is computed by readers, never stored")
        said = {"state": state, "attempt": attempt, "updated": time.time(), "message": message}
        self.write_sealed(self.status, said, code=code)

    def write_sealed(self, file: Path, value: Mapping[str, Any], *, code: Path | None = None) -> None:
        """A file of the run with a sum of itself, if the `code` that reads it there (by default the run's) knows of
        such sums."""
        write_json(file, sealed(value) if knows_sums(code or self.code) else dict(value))

    def read_events(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Every whole line of events.jsonl, or those of these kinds; a half-written last line is left for the next
        reader, and one that is damaged is no record (`logs` names it)."""
        if not self.events.exists():
            return
        wanted = [kind.encode() for kind in kinds]
        with self.events.open("rb") as file:
            for line in file:
                # what can't be of a wanted kind is not parsed: a run of a million steps has 50 MB of `train` records
                if line.endswith(b"\n") and (not kinds or any(kind in line for kind in wanted)):
                    record = parse_event(line)
                    if record is not None and (not kinds or record["event"] in kinds):
                        yield record


def home() -> Path:
    """$RUNJOB_HOME, else `runs/` under the current directory."""
    return Path(os.environ["RUNJOB_HOME"] if os.environ.get("RUNJOB_HOME") else "runs").absolute()


def make_home(where: Path) -> None:
    """Where runs are to lie. One that is made here is private, as each run in it is: its names alone say what somebody
    works on. One that is there keeps the rights that its owner gave it."""
    where.mkdir(mode=0o700, parents=True, exist_ok=True)


def cache_home() -> Path:
    """$RUNJOB_CACHE, else the user's cache directory: prepared stores, shared by all runs."""
    if os.environ.get("RUNJOB_CACHE"):
        return Path(os.environ["RUNJOB_CACHE"]).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("runjob"))


def run_ids(where: Path) -> list[str]:
    """The id of every run under `where`, in the order of their names; other folders are none of ours."""
    if not where.is_dir():
        return []
    with os.scandir(where) as entries:  # which knows what is a folder without looking at each
        return sorted(entry.name for entry in entries if ID.fullmatch(entry.name) and entry.is_dir())


def list_runs(where: Path) -> list[RunDir]:
    return [RunDir(where / name) for name in run_ids(where)]


def written_at(path: str) -> float:
    """When a file was written last; 0 where there is none."""
    try:
        return os.stat(path).st_mtime  # noqa: PTH116 - asked of ten thousand runs, and Path takes four times as long
    except FileNotFoundError:
        return 0.0


def created_at(run: str | Path) -> float:
    """When the run in this directory was made: its job.yaml is never written again."""
    return written_at(f"{run}/job.yaml") or written_at(f"{run}")


def find_run(where: Path, wanted: str) -> RunDir:
    """A run by id, unambiguous prefix, `latest`, or `NAME@latest` (the newest by time of creation)."""
    ids = run_ids(where)
    if wanted == "latest" or wanted.endswith("@latest"):
        name = wanted.removesuffix("latest").removesuffix("@")
        candidates = [run for run in ids if not name or run.rpartition("-")[0] == name]
        if not candidates:
            raise NotFoundError(f"{wanted}: no such job under {where}")
        return RunDir(where / max(candidates, key=lambda run: written_at(f"{where}/{run}/job.yaml")))
    if not wanted:
        raise NotFoundError("an empty id names no job")
    candidates = [wanted] if wanted in ids else [run for run in ids if run.startswith(wanted)]
    if len(candidates) == 1:
        return RunDir(where / candidates[0])
    if not candidates and (where / GROUPS / wanted).is_dir():
        raise NotFoundError(f"{wanted} is a group of jobs, and one is wanted here; `runjob ps {wanted}` lists them")
    if not candidates:
        raise NotFoundError(f"{wanted}: no such job under {where}; `runjob ps` lists the jobs there")
    listing = ", ".join(candidates[:5])
    raise NotFoundError(f"{wanted}: {len(candidates)} jobs begin so ({listing}); type more of the id")
