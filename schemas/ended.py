"""How an attempt ended, as far as it needs no words: wait statuses and signals, what kernel and disk had to say.

attempts/N/ended.json is written by the supervisor when its stages have ended, attempts/N/place.json by whoever stood
outside: a launcher whose submission failed, Slurm when it ended a job. `runjob why` believes these before any message.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from runjob.schemas.causes import Cause, read_causes
from runjob.schemas.errors import RunjobError
from runjob.schemas.run import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """`code` as waitpid gave it, negative for a signal; `ended_by`: why the supervisor ended it itself, else empty.
    `errno`: the program could not even be started."""

    name: str
    pid: int
    code: int
    ended_by: str = ""
    errno: str = ""


@dataclass(frozen=True, kw_only=True)
class RankEnd:
    """A rank that failed, as torchrun waited for it."""

    rank: int
    pid: int
    code: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What was free under `path` when the last stage had ended; -1 files where the file system does not count them."""

    path: str
    free_bytes: int
    free_files: int


@dataclass(frozen=True, kw_only=True)
class OutOfMemoryKills:
    """How many processes the kernel killed for want of memory in the last minute of the attempt, on this machine and in
    the supervisor's own control group, and the pids that its log names; None where it does not say."""

    machine: int | None = None
    control_group: int | None = None
    pids: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    host: str
    boot_id: str
    time: float
    stages: tuple[StageEnd, ...]
    ranks: tuple[RankEnd, ...]
    oom_kills: OutOfMemoryKills
    disks: tuple[Disk, ...]

    def write(self, path: Path) -> None:
        write_json(path, dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class PlaceWord:
    """What the place said of a job that could not say it itself: Slurm's own state and reason, the wait status of the
    supervisor where somebody stood over it, why the submission failed."""

    launcher: str
    state: str = ""
    reason: str = ""
    code: int = 0
    causes: tuple[Cause, ...] = ()

    def write(self, path: Path) -> None:
        write_json(path, dataclasses.asdict(self))


def read_ended(path: Path) -> Ended | None:
    """None where no supervisor came to write one; RunjobError where it can't be read."""
    if not path.exists():
        return None
    raw = read_json(path)
    try:
        return Ended(
            **{
                **raw,
                "stages": tuple(StageEnd(**one) for one in raw["stages"]),
                "ranks": tuple(RankEnd(**one) for one in raw["ranks"]),
                "oom_kills": OutOfMemoryKills(**{**raw["oom_kills"], "pids": _tuple(raw["oom_kills"]["pids"])}),
                "disks": tuple(Disk(**one) for one in raw["disks"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise RunjobError(f"{path}: not what a supervisor writes: {error!r}") from error


def read_place_word(path: Path) -> PlaceWord | None:
    if not path.exists():
        return None
    raw = read_json(path)
    try:
        return PlaceWord(**{**raw, "causes": read_causes(raw["causes"])})
    except (KeyError, TypeError) as error:
        raise RunjobError(f"{path}: not what a launcher writes: {error!r}") from error


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
