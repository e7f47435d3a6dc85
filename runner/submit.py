"""From a resolved job to a run directory in a launcher's hands."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runjob.launchers import find_launcher
from runjob.launchers.base import Gatherer, Handle, Start, StoppedError, read_handle
from runjob.launchers.handover import hand_over
from runjob.launchers.place import submitter_of
from runjob.runner.snapshot import freeze
from runjob.schemas.causes import causes_of
from runjob.schemas.ended import PlaceWord
from runjob.schemas.errors import RunjobError
from runjob.schemas.group import Member
from runjob.schemas.plan import Plan
from runjob.schemas.read import Resolved, write_job_json
from runjob.schemas.run import Attempt, RunDir, write_atomic, write_json


def create_run(
    resolved: Resolved, plan: Plan, *, source: Path, home: Path, launcher: str, cell: Member | None = None
) -> RunDir:
    """A run directory that holds everything its worker reads (job, plan, DeepSpeed file, code) and its first attempt,
    pending. All of it, or none of it: it is made under a hidden name, so a full disk or Ctrl-C leaves no half-made run
    behind, and `kill -9` none that anybody sees. A `cell` has its id already, and says in its directory what it is."""
    try:
        making = RunDir.create(home, f".{resolved.job.name}") if cell is None else RunDir.make(home / f".{cell.id}")
        with contextlib.ExitStack() as unless_done:
            unless_done.callback(shutil.rmtree, making.path)
            shutil.copyfile(source, making.job_yaml)
            write_bases(making, resolved)
            if cell is not None:
                write_json(making.cell, {"group": cell.group, "number": cell.number, "varied": cell.varied})
            write_job_json(making.job, resolved)
            write_plan(making, plan)
            freeze(making, samples=sample_names(resolved))
            first = making.new_attempt()
            Handle(launcher=launcher, attempt=first.number, facts={}).write(making)
            making.write_status(
                "pending", attempt=first.number, message=f"waits for its turn in {cell.group}" if cell else ""
            )
            run = RunDir(making.path.with_name(making.path.name.removeprefix(".")))
            making.path.rename(run.path)
            unless_done.pop_all()
    except OSError as error:
        raise RunjobError(
            f"a run directory can't be made under {home}: {error}; RUNJOB_HOME may name another place"
        ) from error
    return run


def write_bases(run: RunDir, resolved: Resolved) -> None:
    """The files that job.yaml extends as they were read, so that the run tells its whole story: `1-base.yaml`, ..."""
    for number, base in enumerate(resolved.bases, start=1):
        run.bases.mkdir(exist_ok=True)
        (run.bases / f"{number}-{base.path.name}").write_bytes(base.content)


def write_plan(run: RunDir, plan: Plan, *, deepspeed: bool = True) -> None:
    """plan.json and deepspeed.json; without the second where one that was edited by hand is to stay."""
    plan.write(run)
    if deepspeed:
        write_atomic(run.deepspeed, json.dumps(dict(plan.deepspeed), indent=2) + "\n")


def launch(run: RunDir, plan: Plan, attempt: Attempt, *, launcher: str) -> None:
    """Hand the attempt over. If that comes to nothing, status.json says so: a job nobody started must not look as if it
    waited."""
    chosen = find_launcher(launcher)
    # from here on the place that had the job before has nothing more to say
    hand_over(run, Handle(launcher=launcher, attempt=attempt.number, facts={}))
    run.write_status("pending", attempt=attempt.number)
    try:
        chosen.submit(run, plan, attempt)
    except StoppedError as error:
        run.write_status("cancelled", attempt=attempt.number, message=str(error))
    except RunjobError as error:
        PlaceWord(launcher=launcher, causes=causes_of(error)).write(attempt.place_word)
        run.write_status("failed", attempt=attempt.number, message=str(error).splitlines()[0])
        raise


def launch_together(group: str, starts: Sequence[Start], *, launcher: str) -> None:
    """As `launch` for each of several, in one request. Those that could not be handed over say so."""
    chosen = find_launcher(launcher)
    assert isinstance(chosen, Gatherer)
    for one in starts:
        hand_over(one.run, Handle(launcher=launcher, attempt=one.attempt.number, facts={}))
        one.run.write_status("pending", attempt=one.attempt.number)
    try:
        chosen.submit_together(group, starts)
    except RunjobError as error:
        for one in starts:
            handle = read_handle(one.run)
            if handle is None or not handle.facts or submitter_of(handle.facts):
                message = str(error).splitlines()[0]
                one.run.write_status("failed", attempt=one.attempt.number, message=message)
        raise


def sample_names(resolved: Resolved) -> tuple[str, ...]:
    """The shipped corpora that the job names as `sample:NAME`: as its corpus, as a source of it, as a side."""
    found = [text.removeprefix("sample:") for text in _texts(resolved.values["data"]) if text.startswith("sample:")]
    return tuple(dict.fromkeys(found))


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
