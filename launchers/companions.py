"""Processes beside the stages of an attempt: the uploader, the watcher of spot notices. The supervisor starts them,
starts them again if they die, and gives those that have something left to do time for it when the stages have ended.
They have no say in how the job ends, and none of them outlives the supervisor."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runjob.launchers.outcome import describe_end
from runjob.launchers.programs import start_program
from runjob.schemas.own_log import say
from runjob.schemas.plan import Companion
from runjob.schemas.run import Attempt, RunDir, State, write_json
from runjob.schemas.upload import read_upload

# One that dies at once, for want of memory say, must not take the processor from the training by being started again.
RESTART_S = 5.0
POLL_S = 0.05


@dataclass
class Running:
    """One companion; `process` is None between two starts of it, `done` once it has ended by itself with 0."""

    companion: Companion
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    done: bool = False


class Companions:
    def __init__(self, run: RunDir, attempt: Attempt, *, variables: Mapping[str, str]) -> None:
        self.run = run
        self.attempt = attempt
        self.variables = variables
        self.running: list[Running] = []

    def start(self, companions: tuple[Companion, ...]) -> None:
        self.running = [Running(one) for one in companions]
        self.look()

    def look(self) -> None:
        """Start what is due: all of them at first, later those that died."""
        for one in self.running:
            if one.process is not None and one.process.poll() is not None:
                self._ended(one, one.process.returncode)
            if one.process is None and not one.done and time.monotonic() >= one.start_at:
                self._start(one)

    def pids(self) -> frozenset[int]:
        """Who is to be spared when a stage's processes are ended."""
        return frozenset(one.process.pid for one in self.running if one.process is not None)

    def finish(self, state: State, message: str, *, go_on: Callable[[], bool]) -> None:
        """The stages have ended: those that have something left to do are told so and waited for while `go_on` says
        so; then all are ended."""
        last = [one for one in self.running if one.companion.finish_s and not one.done]
        if last:
            write_json(self.attempt.ending, {"state": state, "message": message, "time": time.time()})
            for one in last:
                one.start_at = 0.0  # there is no training left that a quick start could disturb
        deadline = time.monotonic() + max((one.companion.finish_s for one in last), default=0)
        while any(not one.done for one in last) and time.monotonic() < deadline and go_on():
            self.look()
            time.sleep(POLL_S)
        self.end()

    def end(self) -> None:
        """SIGKILL: all of them are made to be killed at any point."""
        for one in self.running:
            if one.process is not None:
                one.process.kill()
                one.process.wait()
                one.process = None
            one.done = True

    def upload_problem(self) -> str:
        """What an uploader among them could not bring away, for the last message; empty where there is none."""
        if not any(one.companion.name == "upload" for one in self.running):
            return ""
        upload = read_upload(self.run)
        if upload is None or upload.attempt != self.attempt.number:
            return f"nothing was uploaded; see {self.attempt.stage_log('upload')}"
        return upload.problem()

    def _start(self, one: Running) -> None:
        located = one.companion.located(run=str(self.run.path), python=sys.executable)
        say(f"companion {located.name}: {list(located.argv)}")
        log = self.attempt.stage_log(located.name)
        try:
            one.process = start_program(located, self.run, log, variables=self.variables)
        except OSError as error:
            say(f"companion {located.name} can't be started: {error}")
            one.start_at = time.monotonic() + RESTART_S

    def _ended(self, one: Running, code: int) -> None:
        one.process, one.done = None, code == 0
        one.start_at = time.monotonic() + RESTART_S
        again = "" if one.done else f"; it is started again in {RESTART_S:.0f} s"
        say(f"companion {one.companion.name} {describe_end(code)}{again}")
