"""The small program that stands over one attempt: `python -m runjob.launchers.supervisor RUN_DIR ATTEMPT`.

It is started detached, runs the plan's stages one after another, writes what happened to status.json, and turns a wish
to stop (attempts/N/stop.json, or a SIGTERM) into an orderly end. While it lives nobody else writes status.json. If it
is killed, the kernel kills its stage with it. The same program serves here and on a remote host.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from runjob.launchers.base import Handle
from runjob.launchers.companions import Companions
from runjob.launchers.kernel import count_oom_kills, tell_oom_kills
from runjob.launchers.outcome import describe_end, outcome_of, with_kernel
from runjob.launchers.place import own_place
from runjob.launchers.tree import end_descendants
from runjob.schemas.errors import RunjobError
from runjob.schemas.less_memory import less_memory
from runjob.schemas.lifeline import (
    ATTEMPT_VARIABLE,
    SUPERVISOR_VARIABLE,
    adopt_orphans,
    own_start_time,
    set_parent_death_signal,
)
from runjob.schemas.plan import Plan, Stage
from runjob.schemas.read import read_job_json
from runjob.schemas.run import Attempt, RunDir, State

POLL_S = 0.05
HEARTBEAT_S = 5.0
# A stage before `train` has nothing to save, but may want to remove what it half wrote.
STAGE_GRACE_S = 5.0
# A rank that has written exit.json has only to close its process group; one that hangs there is helped along.
LINGER_S = 60.0
# A full disk is often emptied by somebody within minutes; the job's end should not be forgotten over it.
FINAL_WRITE_PATIENCE_S = 120.0


class Supervisor:
    def __init__(self, run: RunDir, attempt: Attempt) -> None:
        self.run = run
        self.attempt = attempt
        self.signalled = False
        self.next_beat = 0.0
        self.state: State = "pending"
        self.message = ""
        self.companions = Companions(run, attempt, variables=self._own_variables(), say=say)

    def supervise(self) -> int:
        status = self.run.read_status()
        if (status.state, status.attempt) != ("pending", self.attempt.number):
            say(f"refused: status.json says {status.state}, attempt {status.attempt}; this is {self.attempt.number}")
            return 3
        adopt_orphans()
        self._listen()
        Handle(launcher="local", attempt=self.attempt.number, facts=own_place()).write(self.run)
        say(f"attempt {self.attempt.number} begins, pid {os.getpid()}")
        plan = Plan.from_json(self.run.plan.read_text(encoding="utf-8"))
        self.companions.start(plan.companions)
        state, message = self._run_stages(plan)
        message = self._finish_companions(state, "; ".join(filter(None, [self.attempt.stop_note(), message])))
        if self._superseded():
            say(f"a later attempt has taken over; this one ended as {state} and writes nothing more")
            return 4
        self._write_last(state, message)
        say(f"{state}: {message}")
        return 0

    def _listen(self) -> None:
        def note(number: int, frame: FrameType | None) -> None:
            self.signalled = True

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _run_stages(self, plan: Plan) -> tuple[State, str]:
        for stage in plan.stages:
            if self._stop_wanted():
                return self._stopped_outside_train(stage)
            self._become("running", f"stage {stage.name}")
            killed_before = count_oom_kills()
            code = self._run_stage(stage.located(run=str(self.run.path), python=sys.executable), plan.stop_deadline_s)
            kernel = self._answer_memory(tell_oom_kills(killed_before, count_oom_kills()), plan)
            say(f"stage {stage.name}: {describe_end(code)}")
            if self.attempt.exit.exists() or stage.name == "train":
                return outcome_of(self.attempt, stage.name, code, kernel=kernel)
            if self._stop_wanted():
                return self._stopped_outside_train(stage)
            if code != 0:
                end = with_kernel(f"stage {stage.name} {describe_end(code)}", kernel)
                return "failed", f"{end}; see {self.attempt.stage_log(stage.name)}"
        return "failed", "the plan has no train stage"

    def _finish_companions(self, state: State, message: str) -> str:
        """Time for the uploader's last round. A `cancel` or a signal that comes now cuts it short."""
        asked_before = read_time(self.attempt.stop_request)
        self.signalled = False

        def go_on() -> bool:
            if self.state != "stopping":
                self._become("stopping", "uploading what is left")
            self._beat(time.monotonic())
            return not (self.signalled or self._superseded() or read_time(self.attempt.stop_request) != asked_before)

        self.companions.finish(state, message, go_on=go_on)
        return "; ".join(filter(None, [message, self.companions.upload_problem()]))

    def _answer_memory(self, told: str, plan: Plan) -> str:
        """With the setting of this job that needs less."""
        if not told or not self.run.job.exists():
            return told
        job = read_job_json(self.run.job).job
        return f"{told}; try --set {less_memory(job, ranks=plan.batch.ranks, where='training')[0]}"

    def _stopped_outside_train(self, stage: Stage) -> tuple[State, str]:
        state: State = "cancelled" if self.attempt.stop_reason() == "cancel" else "preempted"
        return state, f"stopped as asked, in stage {stage.name}: there was nothing to save yet"

    def _run_stage(self, stage: Stage, stop_deadline_s: float) -> int:
        """Start one stage, wait for its end, and leave nothing of it behind."""
        say(f"stage {stage.name}: {list(stage.argv)}")
        try:
            with self.attempt.stage_log(stage.name).open("ab") as log:
                process = subprocess.Popen(
                    stage.argv,
                    cwd=self.run.path,
                    env={**os.environ, **stage.env, **self._own_variables()},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                    preexec_fn=set_parent_death_signal,  # safe: there is one thread here
                )
        except OSError as error:
            say(f"stage {stage.name} can't be started: {error}")
            return 127
        self._wait(process, grace_s=stop_deadline_s if stage.name == "train" else 0.0)
        left = end_descendants(process.pid, grace_s=0.0, spare=self.companions.pids())
        if left:
            say(f"stage {stage.name}: {left} processes outlived it and were killed")
        return process.wait()

    def _own_variables(self) -> dict[str, str]:
        return {
            SUPERVISOR_VARIABLE: f"{os.getpid()} {own_start_time()}",
            ATTEMPT_VARIABLE: str(self.attempt.number),
        }

    def _wait(self, process: subprocess.Popen[bytes], *, grace_s: float) -> None:
        """Until the process ends; `grace_s` is how long it may go on by itself once a stop is wanted."""
        stop_at = linger_until = float("inf")
        while process.poll() is None:
            now = time.monotonic()
            if stop_at == float("inf") and self._stop_wanted():
                stop_at = now + grace_s
                say(f"asked to stop ({self.attempt.stop_reason()}), {grace_s:.0f} s from now at the latest")
                self._become("stopping", "saving" if grace_s else "")
            if linger_until == float("inf") and self.attempt.exit.exists():
                linger_until = now + LINGER_S
            if self._superseded():
                say("a later attempt has taken over: everything of this one ends now, unsaved")
                end_descendants(process.pid, grace_s=0.0, spare=self.companions.pids())
                return
            if now >= min(stop_at, linger_until):
                say("the stage did not end by itself: SIGTERM, then SIGKILL")
                end_descendants(process.pid, grace_s=STAGE_GRACE_S, spare=self.companions.pids())
                return
            self.companions.look()
            self._beat(now)
            time.sleep(POLL_S)

    def _superseded(self) -> bool:
        """Did somebody who could not reach us `resume --accept` the job elsewhere? Then the run is theirs."""
        return self.run.attempt(self.attempt.number + 1).path.exists()

    def _stop_wanted(self) -> bool:
        if self.signalled:
            self.signalled = False
            self.attempt.request_stop("preempt")
        return self.attempt.stop_request.exists()

    def _become(self, state: State, message: str) -> None:
        self.state, self.message = state, message
        self.next_beat = 0.0
        self._beat(time.monotonic())

    def _beat(self, now: float) -> None:
        """Show every few seconds that we live. A full disk must not end a healthy job: a failed beat is only said."""
        if now < self.next_beat:
            return
        self.next_beat = now + HEARTBEAT_S
        if self._superseded():
            return
        try:
            self.run.write_status(self.state, attempt=self.attempt.number, message=self.message)
        except OSError as error:
            say(f"status.json can't be written: {error}")

    def _write_last(self, state: State, message: str) -> None:
        deadline = time.monotonic() + FINAL_WRITE_PATIENCE_S
        while True:
            try:
                self.run.write_status(state, attempt=self.attempt.number, message=message)
                return
            except OSError as error:
                say(f"status.json can't be written: {error}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)


def read_time(request: Path) -> int:
    """When a request to stop was last written; 0 where there is none."""
    return request.stat().st_mtime_ns if request.exists() else 0


def say(text: str) -> None:
    """One line with its time to supervisor.log (our standard output); a full disk swallows it."""
    try:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
    except OSError:
        return


def main() -> int:
    run = RunDir(Path(sys.argv[1]))
    try:
        return Supervisor(run, run.attempt(int(sys.argv[2]))).supervise()
    except RunjobError as error:
        say(f"can't go on: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
