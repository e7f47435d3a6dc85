"""SIGKILL, again and again, of every process that a job consists of: at moments drawn over its whole life and at the
places where most could break. Each kill and the `runjob resume` after it is a trial; at its end the run is compared
with an unbroken one, record by record and byte by byte."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.chaos.jobs import OWN, SAVED_EVERY, STEPS, Narrow, References
from benchmarks.chaos.place import PATIENCE_S, ChaosError, Place, everything_of, flags, kill, settle, whole_steps
from benchmarks.chaos.results import Enough, Named, Trial
from runjob.runner.runs import newest_attempt, read_progress, state_of
from runjob.schemas.run import ALIVE_STATES, RunDir, list_runs

VICTIMS = ("rank 0", "another rank", "the supervisor", "torchrun", "the command line", "everything")
# Where the worker may be told to end itself (runner/worker/faults.py), and at which steps it comes by
POINTS = {
    "checkpoint-begun": "when a checkpoint is begun",
    "checkpoint-before-manifest": "between the data of a checkpoint and its manifest",
    "checkpoint-before-rename": "between a manifest and the checkpoint's name",
    "checkpoint-before-latest": "before LATEST moves",
    "export": "before the export",
    "export-written": "when the model is written and has no name",
    "export-moved": "between the old model and the new one",
}
# Each costs a start, and so does the attempt after the last of them
KILLS_OF_A_RUN = 6
# Two of five kills fall into the start, which is most of the life of so short a run
SHARE_BY_CLOCK = 0.4
START_S = 8.0


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One kill to come: of whom, and when: at a fault point, at a step, or so many seconds after the start."""

    victim: str
    point: str = ""
    step: int | None = None
    seconds: float = 0.0
    fresh: bool = False

    @property
    def fault(self) -> str:
        if self.point:
            return f"kill of rank 0 {POINTS[self.point.partition('@')[0]]}"
        return f"kill of {self.victim}" + (" while preparing" if self.fresh else "")


def draw(chance: random.Random, job: Narrow, *, done: int, first: bool) -> Blow:
    """The next kill of a run whose newest checkpoint is that of step `done`."""
    saves = list(range(done + SAVED_EVERY, STEPS + 1, SAVED_EVERY))
    if chance.random() < 0.35:
        point = chance.choice(list(POINTS))
        if point.startswith("export"):
            return Blow(victim="rank 0", point=f"{point}@{STEPS if point == 'export' else 0}")
        if saves:
            return Blow(victim="rank 0", point=f"{point}@{chance.choice(saves)}")
    if first and chance.random() < 0.3:
        return Blow(victim="everything", seconds=chance.uniform(0.5, 5.0), fresh=True)
    victims = [victim for victim in VICTIMS if job.ranks > 1 or victim != "another rank"]
    victim = chance.choice(victims)
    if done >= STEPS or chance.random() < SHARE_BY_CLOCK or victim == "the command line":
        # whoever submits has handed over within a second
        return Blow(victim=victim, seconds=chance.uniform(0.0, 1.2 if victim == "the command line" else START_S))
    return Blow(victim=victim, step=chance.randint(done + 1, STEPS), seconds=chance.uniform(0.0, 0.05))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of a run that is about to go on: when, from which newest checkpoint, after how many attempts."""

    time: float
    step: int
    attempts: int


@dataclass(kw_only=True)
class Victim:
    """A run on its way through several kills; `trials` are those that it has behind it, each with its fault."""

    place: Place
    job: Narrow
    run: RunDir | None = None
    trials: list[Named] = field(default_factory=list)

    def strike(self, blow: Blow) -> None:
        """One attempt, the kill in it, and what is left of it."""
        if blow.fresh:
            shutil.rmtree(self.place.cache / "stores", ignore_errors=True)
        asked = self._ask()
        hit = self._by_the_command_line(blow) if blow.victim == "the command line" else self._detached(blow)
        self._look_back(asked)
        if hit and self.run is not None:
            self.trials.append((blow.fault, Trial(detected=self._is_named(blow))))

    def go_on(self) -> None:
        """To its end, unbroken."""
        assert self.run is not None
        asked = self._ask()
        if state_of(self.run).state != "finished":
            self._resume(self.place)
            settle(self.run)
        self._look_back(asked)

    def _detached(self, blow: Blow) -> bool:
        faulty = replace(self.place, extra={"RUNJOB_TEST_FAULT": blow.point}) if blow.point else self.place
        if self.run is None:
            self.run = faulty.submit(self.job.file, self.job.sets, "--detach")
        else:
            self._resume(faulty)
        hit = bool(blow.point) or self._kill(self.run, blow)
        return settle(self.run) != "finished" and hit

    def _kill(self, run: RunDir, blow: Blow) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while blow.step is not None and read_step(run) < blow.step:
            if time.monotonic() > deadline or state_of(run).state not in ALIVE_STATES:
                return False
            time.sleep(0.02)
        time.sleep(blow.seconds)
        return kill(chosen(run, blow.victim)) > 0

    def _by_the_command_line(self, blow: Blow) -> bool:
        """Killed while it submits, or while it follows, which the job does not notice."""
        known = {run.id for run in list_runs(self.place.runs)}
        words = [self.job.file, *flags(self.job.sets)] if self.run is None else ["resume", self.run.id]
        process = self.place.start(*words)
        time.sleep(blow.seconds)
        hit = process.poll() is None
        process.kill()
        process.communicate()
        made = [run for run in list_runs(self.place.runs) if run.id not in known]
        self.run = self.run or (made[0] if made else None)
        if self.run is not None:
            settle(self.run)
        return hit

    def _resume(self, place: Place) -> None:
        """Again and again where a resume that was killed has left an attempt behind, until that counts as abandoned."""
        assert self.run is not None
        deadline = time.monotonic() + PATIENCE_S
        while (done := place.call("resume", self.run.id, "--detach")).returncode:
            if "somebody else" not in done.stderr or time.monotonic() > deadline:
                raise ChaosError(f"{self.job}: {self.run.path} does not go on: {done.stdout}{done.stderr}")
            time.sleep(1.0)

    def _ask(self) -> Asked:
        """How it is before the next attempt."""
        steps, attempts = (whole_steps(self.run), self.run.list_attempts()) if self.run else ([], [])
        return Asked(time=time.time(), step=max(steps, default=0), attempts=len(attempts))

    def _look_back(self, asked: Asked) -> None:
        """Of the attempt that came after a kill: did it go on from where it should, and when did it train again?"""
        if not self.trials or self.run is None or len(self.run.list_attempts()) == asked.attempts:
            return
        attempt = newest_attempt(self.run).number
        own = [record for record in self.run.read_events() if record["attempt"] == attempt]
        trained = [record["time"] for record in own if record["event"] in ("train", "finish")]
        behind = any(record["step"] < asked.step for record in own if record["event"] in ("resume", "init"))
        fault, last = self.trials[-1]
        seconds = min(trained) - asked.time if trained and last.seconds is None else last.seconds
        self.trials[-1] = fault, replace(last, seconds=seconds, lost=last.lost or behind)

    def _is_named(self, blow: Blow) -> bool:
        assert self.run is not None
        said = self.place.call("why", self.run.id).stdout
        named = "SIGKILL" in said or "is gone without a word" in said or "never started" in said
        return named or blow.victim == "the command line"  # a job that goes on has nothing to say of it


def broken_run(place: Place, references: References, chance: random.Random, job: Narrow) -> list[Named]:
    """Up to KILLS_OF_A_RUN kills of one run, and what became of it."""
    unbroken = references.of(job)
    victim = Victim(place=place, job=job)
    try:
        strike_and_go_on(victim, chance)
    except ChaosError as error:
        if not victim.trials:
            raise
        fault, last = victim.trials[-1]  # what the job does not go on from is lost, and counts as that
        return [*victim.trials[:-1], (fault, replace(last, lost=True, note=str(error)))]
    if victim.run is None:
        return victim.trials
    finished = state_of(victim.run).state == "finished"
    differs = finished and not references.same(job, victim.run)
    if finished and not differs and victim.run != unbroken:
        shutil.rmtree(victim.run.path)
    # which of the kills it was, the run that is left there says
    note = f"{job}: see {victim.run.path}" if differs or not finished else ""
    return [
        (fault, replace(trial, differing=differs, lost=trial.lost or not finished, note=note))
        for fault, trial in victim.trials
    ]


def strike_and_go_on(victim: Victim, chance: random.Random) -> None:
    for number in range(KILLS_OF_A_RUN):
        done = max(whole_steps(victim.run), default=0) if victim.run else 0
        victim.strike(draw(chance, victim.job, done=done, first=number == 0))
        if victim.run is not None and state_of(victim.run).state == "finished":
            break
    if victim.run is not None:
        victim.go_on()


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    """Runs of several kills each, over the five jobs on one rank and on two, until it is enough."""
    done = 0
    while not enough(done):
        job = Narrow(name=chance.choice(sorted(OWN)), ranks=chance.choice((1, 2)))
        for named in broken_run(place, references, chance, job):
            done += 1
            yield named


def read_step(run: RunDir) -> int:
    progress = read_progress(run)
    return int(progress["step"]) if "step" in progress else 0


def chosen(run: RunDir, victim: str) -> list[int]:
    """Its processes by now: below the supervisor stands torchrun, below that the ranks in their order."""
    supervisor, *below = everything_of(run) or [0]
    if victim == "everything":
        return [supervisor, *below] if supervisor else []
    if victim == "the supervisor":
        return [supervisor] if supervisor else []
    if victim == "torchrun":
        return below[:1]
    ranks = [pid for pid in below[1:] if b"runjob.runner.worker" in command_of(pid)]
    return ranks[:1] if victim == "rank 0" else ranks[1:2]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
