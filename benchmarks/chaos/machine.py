"""What a machine does to a job: its disk fills up (a small tmpfs, which only root may mount), its run directory can't
be written any more or is gone, its clock is set back."""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.jobs import Narrow, References
from benchmarks.chaos.kills import read_step
from benchmarks.chaos.place import Place, everything_of, kill, settle, whole_steps
from benchmarks.chaos.results import ROOT, Enough, Named, Trial
from runjob.schemas.processes import read_process
from runjob.schemas.run import RunDir

HOUR_S = 3600
# Enough for the run, were there nobody else
ROOM_MIB = 36


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    job = Narrow(name="gpt2_dutch", ranks=1)
    faults: list[tuple[str, Callable[[Place, References, Narrow], Trial]]] = [
        ("a clock that is set back by an hour, and again", clock_goes_back),
        ("a run directory that can't be written any more", read_only),
        ("a run directory that is gone", vanished),
    ]
    if os.geteuid() == 0:
        faults += [
            ("a disk that is full while it checkpoints", full_while_checkpointing),
            ("a disk that is full while it prepares", full_while_preparing),
        ]
    for number, (fault, trial) in enumerate(faults):
        if enough(number):
            return
        yield fault, trial(place, references, job)


def clock_goes_back(place: Place, references: References, job: Narrow) -> Trial:
    """Killed before and after the step of the clock; nothing of the job's goes by the time of day."""
    library, offset = place.path / "shim.so", place.path / "offset"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, ROOT / "benchmarks/chaos/shim.c", "-ldl"], check=True)
    offset.write_text("0", encoding="utf-8")
    set_back = replace(place, extra={"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(offset)})
    run = set_back.submit(job.file, job.sets, "--detach")
    wait_for(lambda: read_step(run) >= 5, set_back, run)
    offset.write_text(str(-HOUR_S), encoding="utf-8")
    wait_for(lambda: read_step(run) >= 9, set_back, run)
    kill(everything_of(run))
    offset.write_text(str(-2 * HOUR_S), encoding="utf-8")
    asked = time.monotonic()
    done = set_back.call("resume", run.id)
    same = done.returncode == 0 and references.same(job, run)
    return Trial(lost=done.returncode != 0, differing=not same, detected=True, seconds=time.monotonic() - asked)


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}M", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def full_while_checkpointing(place: Place, references: References, job: Narrow) -> Trial:
    """The runs lie on a small disk, and somebody else fills it while the job trains; then makes room again."""
    references.of(job)
    small = Place(path=place.path / "full")
    small.path.mkdir()
    shutil.copytree(place.cache, small.cache)
    with small_disk(small.runs, ROOM_MIB):
        run = small.submit(job.file, (*job.sets, "training.checkpoint.keep=all"), "--detach")
        wait_for(lambda: read_step(run) >= 4, small, run)
        fill(small.runs / "somebody-elses")
        wait_for(lambda: len(everything_of(run)) < 2, small, run)  # the ranks give up, the supervisor is patient
        kept = whole_steps(run)
        (small.runs / "somebody-elses").unlink()
        state = settle(run)
        said = small.call("why", run.id).stdout
        named = "No space left" in said or "is full: make room" in said
        return went_on(small, references, job, run, state=state, named=named, kept=kept)


def full_while_preparing(place: Place, references: References, job: Narrow) -> Trial:
    """Too little room in the cache: said before, or when it is used up; no half of a store is left to be found."""
    references.of(job)
    small = Place(path=place.path / "narrow")
    small.path.mkdir()
    with small_disk(small.cache, 1):
        fill(small.cache / "somebody-elses", but=64 * 1024)
        run = small.submit(job.file, job.sets, "--detach")
        state = settle(run)
        said = small.call("why", run.id).stdout
        (small.cache / "somebody-elses").unlink()
        named = "No space left" in said or "room" in said
        return went_on(small, references, job, run, state=state, named=named, kept=[])


def went_on(
    place: Place, references: References, job: Narrow, run: RunDir, *, state: str, named: bool, kept: list[int]
) -> Trial:
    """After room was made: from the newest checkpoint that was whole then, to what the unbroken run ends with."""
    if state == "finished":
        return Trial(note="finished before it was full")
    asked = time.monotonic()
    done = place.call("resume", run.id)
    if done.returncode:
        return Trial(lost=True, detected=named, note=(done.stdout + done.stderr).strip()[-300:])
    started = [record["step"] for record in run.read_events("resume")]
    lost = bool(kept) and started[-1:] != kept[-1:]
    same = references.same(job, run)
    return Trial(lost=lost, differing=not same, detected=named, seconds=time.monotonic() - asked)


def fill(file: Path, *, but: int = 0) -> None:
    """All that is left on its disk but so many bytes."""
    free = os.statvfs(file.parent).f_bavail * os.statvfs(file.parent).f_frsize
    with file.open("wb") as filling, contextlib.suppress(OSError):
        filling.write(bytes(max(free - but, 0)))


def read_only(place: Place, references: References, job: Narrow) -> Trial:
    """Root may write everywhere, so the folder is mounted on itself, for reading only, and given back at last."""
    run = place.submit(job.file, job.sets, "--detach")
    wait_for(lambda: read_step(run) >= 5, place, run)
    subprocess.run(["mount", "--bind", run.path, run.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", run.path], check=True)
        wait_for(lambda: len(everything_of(run)) < 2, place, run)  # the ranks give up, the supervisor is patient
        kept = whole_steps(run)
    finally:
        subprocess.run(["umount", run.path], check=True)
    state = settle(run)
    named = "Read-only file system" in place.call("why", run.id).stdout
    return went_on(place, references, job, run, state=state, named=named, kept=kept)


def vanished(place: Place, references: References, job: Narrow) -> Trial:
    """Nothing is left to go on with; all that is asked is that it ends by itself and leaves no process."""
    run = place.submit(job.file, job.sets, "--detach")
    wait_for(lambda: read_step(run) >= 5, place, run)
    pids = everything_of(run)
    gone = run.path.rename(
        place.path / "gone"
    )  # at once, since a folder that is written to may not be empty in the end
    shutil.rmtree(gone, ignore_errors=True)
    wait_for(lambda: not any(map(is_alive, pids)), place, run)
    left = [pid for pid in pids if is_alive(pid)]
    kill(left)
    shutil.rmtree(gone, ignore_errors=True)
    known = place.call("status", run.id)
    return Trial(lost=bool(left), detected="no such job" in known.stderr, note=f"left running: {left}" if left else "")


def is_alive(pid: int) -> bool:
    facts = read_process(pid)
    return facts is not None and not facts.zombie


def wait_for(true: Callable[[], bool], place: Place, run: RunDir) -> None:
    """Longer than the two minutes for which a supervisor tries to write its last word."""
    deadline = time.monotonic() + 150
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
