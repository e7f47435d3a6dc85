"""Many jobs at once: every cell of a matrix becomes a run, and something begins each at its turn.

What is at work is the submitting process first, then the queue (runner/queue.py); where a launcher takes all of them
together nothing need be. GROUP/queue.json says which process it is, so anybody sees whether it lives.
"""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runjob.launchers import find_launcher
from runjob.launchers.base import SUBMISSION_GRACE_S, Gatherer, Start
from runjob.launchers.local import frozen_environment
from runjob.launchers.logs import tail
from runjob.launchers.place import own_place
from runjob.runner.asking import states_of
from runjob.runner.resume import Wish, resume
from runjob.runner.snapshot import freeze
from runjob.runner.submit import create_run, launch_together, write_bases
from runjob.runner.turn import is_waiting
from runjob.schemas.errors import LaunchError, RunjobError
from runjob.schemas.group import Group, GroupDir, Member
from runjob.schemas.plan import Plan
from runjob.schemas.read import Cell
from runjob.schemas.run import RunDir, read_json, write_json

POLL_S = 0.02
# What the queue's log says then, and whoever follows it passes on
NOT_BEGUN = "can't be begun"
# From which a group goes on
STOPPED = ("lost", "preempted", "cancelled", "failed")


def create_group(
    cells: Sequence[Cell], plans: Sequence[Plan], *, source: Path, home: Path, launcher: str, at_once: int
) -> GroupDir:
    """The group's directory and a run for each cell, none of them begun. All of it, or none of it."""
    try:
        group = GroupDir.create(home, cells[0].resolved.job.name.rpartition("_")[0])
        with contextlib.ExitStack() as unless_done:  # newest first, so the group goes when its cells are gone
            unless_done.callback(shutil.rmtree, group.path)
            shutil.copyfile(source, group.files.job_yaml)
            write_bases(group.files, cells[0].resolved)
            freeze(group.files, samples=())
            claim(group)
            members = tuple(member_of(group, cell) for cell in cells)
            group.write(Group(launcher=launcher, at_once=at_once, members=members))
            for cell, plan, member in zip(cells, plans, members, strict=True):
                run = create_run(cell.resolved, plan, source=source, home=home, launcher=launcher, cell=member)
                unless_done.callback(shutil.rmtree, run.path)
            unless_done.pop_all()
    except OSError as error:
        raise RunjobError(f"a group can't be made under {home}: {error}; RUNJOB_HOME may name another place") from error
    return group


def member_of(group: GroupDir, cell: Cell) -> Member:
    return Member(id=f"{cell.resolved.job.name}-{group.hex}", group=group.id, number=cell.number, varied=cell.varied)


def claim(group: GroupDir) -> None:
    """From now on this process begins the group's cells, whoever asked an earlier one to stop."""
    group.stop.unlink(missing_ok=True)
    write_json(group.queue, own_place())


def begin_cells(group: GroupDir, *, again: bool, told: Callable[[str], None]) -> None:
    """Every cell that waits begins at its turn; `again`: those that were stopped go on too. Where the launcher takes
    them together this is done when it returns, elsewhere the queue does it."""
    known = group.read()
    if not takes_together(known.launcher):
        start_queue(group, again=again)
        return
    claim(group)
    try:
        waiting, stopped = waiting_and_stopped(group.runs())
        if waiting:
            launch_together(group.id, [start_of(run) for run in waiting], launcher=known.launcher)
        if again:
            resume_each(stopped, told=told)
    finally:
        group.queue.unlink()


def resume_each(runs: Sequence[RunDir], *, told: Callable[[str], None]) -> None:
    """LaunchError, after the last of them, with all that could not go on: one stops no other."""
    refused = []
    for run in runs:
        try:
            for line in resume(run, Wish(), told=told):
                told(f"{run.id}: {line}")
        except RunjobError as error:
            refused.append(f"{run.id} {NOT_BEGUN}: {error}")
    if refused:
        raise LaunchError("\n".join(refused))


def start_of(run: RunDir) -> Start:
    return Start(run=run, plan=Plan.read(run.plan), attempt=run.attempt(1))


def waiting_and_stopped(runs: Sequence[RunDir]) -> tuple[list[RunDir], list[RunDir]]:
    """The cells that nobody has begun, and those that were begun and stopped before their end."""
    waiting = [run for run in runs if is_waiting(run)]
    begun = [run for run in runs if run not in waiting]
    found = zip(begun, states_of(begun), strict=True)
    return waiting, [run for run, status in found if status.state in STOPPED]


def takes_together(launcher: str) -> bool:
    return isinstance(find_launcher(launcher), Gatherer)


def start_queue(group: GroupDir, *, again: bool) -> None:
    """Detached, and found again by queue.json; it runs the code that was frozen with the group. `again` takes up what
    has ended before its time too."""
    words = [sys.executable, "-m", "runjob.runner.queue", str(group.path), *(["--again"] if again else [])]
    with group.log.open("ab") as log:
        process = subprocess.Popen(
            words,
            cwd=group.path,
            env=frozen_environment(group.files),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + SUBMISSION_GRACE_S
    ended = False
    while time.monotonic() < deadline and not ended:
        ended = process.poll() is not None  # before the look: one that had nothing to do has begun too
        if read_json(group.queue)["pid"] == process.pid:
            process.returncode = 0  # our child only until this command ends; nobody here waits for it, on purpose
            return
        time.sleep(POLL_S)
    process.kill()
    process.wait()
    raise LaunchError(f"{group.id}: its queue did not start; its last words:\n{tail(group.log, 5)}")
