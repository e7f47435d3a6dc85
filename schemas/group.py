"""The cells of one matrix as a group: `$RUNJOB_HOME/groups/<name>-<8 hex>/`, beside the runs and no run itself.

    group.json   which runs they are, what varies, where they go and how many at once
    queue.json   who begins them at their turn: the process that submits, then the queue
    stop.json    while it is there, nobody begins any more
    job.yaml     as the user wrote it, with what it extends in bases/
    code/        that the queue runs; queue.log: what it says

A cell is a run like any other. Only while it waits for its turn does its state need its group; RUN/cell.json names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.errors import NotFoundError
from runjob.schemas.run import GROUPS, ID, RunDir, find_run, make_home, read_json, run_ids, write_json, written_at


@dataclass(frozen=True, kw_only=True)
class Member:
    """One cell: its run, its group, its number in that, and the values that it has of what varies."""

    id: str
    group: str
    number: int
    varied: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Group:
    """What group.json holds."""

    launcher: str
    at_once: int
    members: tuple[Member, ...]


class GroupDir:
    """Every file of one group by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.record = path / "group.json"
        self.queue = path / "queue.json"
        self.lock = path / ".queue.lock"
        # Its presence asks the queue to begin no more
        self.stop = path / "stop.json"
        self.log = path / "queue.log"
        # job.yaml, bases and code are called as in a run
        self.files = RunDir(path)

    @staticmethod
    def create(home: Path, name: str) -> "GroupDir":
        """A new private directory under `home`; its eight hex digits are those of its cells too."""
        import secrets  # 8 ms that `ps` does without

        make_home(home / GROUPS)
        path = home / GROUPS / f"{name}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        return GroupDir(path)

    @property
    def hex(self) -> str:
        return self.id.rpartition("-")[2]

    def read(self) -> Group:
        raw = read_json(self.record)
        return Group(**{**raw, "members": tuple(Member(**one) for one in raw["members"])})

    def write(self, group: Group) -> None:
        write_json(self.record, {**vars(group), "members": [vars(one) for one in group.members]})

    def run_of(self, member: Member) -> RunDir:
        return RunDir(self.path.parent.parent / member.id)

    def runs(self) -> list[RunDir]:
        """Of its cells in their order, those that somebody has removed left out."""
        found = [self.run_of(member) for member in self.read().members]
        return [run for run in found if run.path.is_dir()]


def group_ids(where: Path) -> list[str]:
    folder = where / GROUPS
    return sorted(path.name for path in folder.iterdir() if ID.fullmatch(path.name)) if folder.is_dir() else []


def group_of(run: RunDir) -> GroupDir | None:
    """The group whose cell this run is."""
    if not run.cell.exists():
        return None
    return GroupDir(run.path.parent / GROUPS / read_json(run.cell)["group"])


def find_jobs(where: Path, wanted: str) -> RunDir | GroupDir:
    """A run as `find_run` finds it, or a group by its id, an unambiguous prefix, or NAME@latest. A prefix of a group
    and of its own cells means the group."""
    groups = group_ids(where)
    if wanted.endswith("@latest"):
        named = [one for one in groups if one.rpartition("-")[0] == wanted.removesuffix("@latest")]
        newest = max(named, key=lambda one: written_at(f"{where}/{GROUPS}/{one}/job.yaml"), default=None)
        return GroupDir(where / GROUPS / newest) if newest is not None else find_run(where, wanted)
    meant = [wanted] if wanted in groups else [one for one in groups if wanted and one.startswith(wanted)]
    if len(meant) == 1:
        group = GroupDir(where / GROUPS / meant[0])
        own = {member.id for member in group.read().members}
        if all(run in own for run in run_ids(where) if run.startswith(wanted)):
            return group
    if len(meant) > 1:
        raise NotFoundError(f"{wanted}: {len(meant)} groups begin so ({', '.join(meant[:5])}); type more of the id")
    return find_run(where, wanted)
