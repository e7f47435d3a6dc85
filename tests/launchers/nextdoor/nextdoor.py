"""`--launcher nextdoor`: a job runs in another folder of this machine, $NEXTDOOR, with nothing but a copy of its run
directory. All that a launcher for a farther place does is in here: survey, judge, copy, start, bring news, fetch."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from runjob.launchers.base import Handle, read_handle
from runjob.launchers.checkpoint_files import needed_for
from runjob.launchers.handover import held_by
from runjob.launchers.local import LocalLauncher
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine, detect_machine
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir, Status, write_atomic

NEWS = ("status.json", "progress.json", "events.jsonl", "data.json", "attempts/*/*")


class Nextdoor:
    def survey(self, job: Job) -> Machine:
        folder = place()
        if not folder.is_dir():
            raise MissingError(f"--launcher nextdoor: {folder} is no directory; NEXTDOOR names the one to run in")
        if (folder / "machine.json").exists():
            return Machine(**json.loads((folder / "machine.json").read_text(encoding="utf-8")))
        return detect_machine()

    def preview(self, job: Job, plan: Plan) -> str:
        return f"cp -r RUN {place() / 'runs'}"

    def in_time(self, job: Job, plan: Plan, machine: Machine, *, done: int) -> tuple[str, ...]:
        """A file named `lives` says for how many steps of each attempt the place is there."""
        if plan.steps is None or not (place() / "lives").exists():
            return ()
        left, most = plan.steps - done, int((place() / "lives").read_text())
        if left and not most:
            raise MissingError(f"{left} steps are left, and {place()} will not make one")
        return (f"{left} steps are left, and {place()} makes {most}",) if left > most else ()

    def submit(self, run: RunDir, plan: Plan, attempt: Attempt) -> Handle:
        there = RunDir(place() / "runs" / run.id)
        handle = Handle(launcher="nextdoor", attempt=attempt.number, facts={"directory": str(there.path)})
        handle.write(run)  # before anything is there: whatever happens now, the run can be found
        if there.path.exists():
            shutil.rmtree(there.path)
        try:
            shutil.copytree(run.path, there.path, ignore=shutil.ignore_patterns("handle.json"))
        except OSError as error:
            raise LaunchError(f"{run.id}: can't be copied to {there.path}: {error}") from error
        LocalLauncher().submit(there, plan, there.attempt(attempt.number))
        return handle

    def state(self, run: RunDir) -> Status:
        handle, here = read_handle(run), run.read_status()
        assert handle is not None
        try:
            there = reach(handle)
        except LaunchError as error:
            seen = time.strftime("%H:%M:%S", time.localtime(here.updated))
            message = f"unreachable (last sign {seen}): {error}"
            return Status(state="unreachable", attempt=here.attempt, updated=here.updated, message=message)
        status = LocalLauncher().state(there)
        with held_by(run, handle) as ours:
            if ours:
                copy_news(there, run)
        return status

    def logs(self, run: RunDir, attempt: Attempt) -> tuple[Path, ...]:
        return LocalLauncher().logs(run, attempt)

    def cancel(self, run: RunDir, attempt: Attempt) -> None:
        handle = read_handle(run)
        assert handle is not None
        reach(handle).attempt(attempt.number).request_stop("cancel")

    def fetch(self, run: RunDir, *, told: Callable[[str], None]) -> None:
        handle = read_handle(run)
        assert handle is not None
        there = reach(handle)
        with held_by(run, handle) as ours:
            saved = [there.checkpoints / name for name in needed_for(there.checkpoints, "latest")]
            for folder in [*saved, there.model, there.tensorboard] if ours else []:
                if folder.is_dir():
                    told(f"fetching {folder.relative_to(there.path)}")
                    shutil.copytree(folder, run.path / folder.relative_to(there.path), dirs_exist_ok=True)


def reach(handle: Handle) -> RunDir:
    """The copy there; a file named `away` stands for a cut cable, one named `silent` for a host that never answers."""
    if (place() / "silent").exists():
        time.sleep(600)
    if (place() / "away").exists():
        raise LaunchError(f"{place()} is away")
    return RunDir(Path(str(handle.facts["directory"])))


def copy_news(there: RunDir, run: RunDir) -> None:
    for path in (path for pattern in NEWS for path in there.path.glob(pattern) if path.is_file()):
        target = run.path / path.relative_to(there.path)
        target.parent.mkdir(exist_ok=True)
        write_atomic(target, path.read_text(encoding="utf-8", errors="replace"))


def place() -> Path:
    return Path(os.environ["NEXTDOOR"])
