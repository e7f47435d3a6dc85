"""The small program that stands over one attempt: `python -m runjob.launchers.supervisor RUN_DIR ATTEMPT [options]`.

It is started detached, runs the plan's stages one after another, writes what happened to status.json, and turns a wish
to stop (attempts/N/stop.json, or a SIGTERM) into an orderly end. While it lives nobody else writes status.json. If it
is killed, the kernel kills its stage with it. The same program serves here and on a remote host, and on every node of
several: node 0's is this one; those of other nodes (`--node K`) wait until the data are prepared, start their share of
the training, and write nothing but their own logs.
"""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from runjob.launchers.base import Handle
from runjob.launchers.companions import Companions
from runjob.launchers.heartbeat import Heartbeat
from runjob.launchers.kernel import tell_oom_kills
from runjob.launchers.node_line import HeadLine, HelperLine, open_line
from runjob.launchers.nodes import Post, failed_node, is_over, open_meeting, tell_end, wait_for_meeting
from runjob.launchers.outcome import describe_end, outcome_of, with_kernel
from runjob.launchers.place import own_place
from runjob.launchers.programs import allow_open_files, start_program
from runjob.launchers.room import tell_full_disk
from runjob.launchers.tree import end_descendants
from runjob.launchers.watchdog import Watchdog, ask_stacks
from runjob.launchers.witness import Witness
from runjob.schemas.causes import errno_name
from runjob.schemas.ended import StageEnd
from runjob.schemas.errors import LaunchError, RunjobError
from runjob.schemas.lifeline import ATTEMPT_VARIABLE, SIGNALS_VARIABLE, SUPERVISOR_VARIABLE, adopt_orphans
from runjob.schemas.own_log import say
from runjob.schemas.plan import ALONE, Plan, Stage
from runjob.schemas.processes import own_start_time
from runjob.schemas.run import Attempt, RunDir, State

POLL_S = 0.05
# A stage before `train` has nothing to save, but may want to remove what it half wrote.
STAGE_GRACE_S = 5.0
# A rank that has written exit.json has only to close its process group; one that hangs there is helped along.
LINGER_S = 60.0
# Rank 0 sees the connection to a failed node break within moments, and says so; one deep in a collective may not.
NODE_GRACE_S = 10.0
UPLOADING = "uploading what is left"
# A cluster that takes its nodes back kills soon, and keeps the run directory: the next attempt uploads what is left.
HURRIED_FINISH_S = 15.0
# How the supervisor ends where a launcher decides what becomes of a job that has saved at its request.
LEFT_TO_LAUNCHER = 75


class Supervisor:
    def __init__(self, run: RunDir, attempt: Attempt, post: Post) -> None:
        self.run = run
        self.attempt = attempt
        self.post = post
        self.signalled = False
        self.line: HeadLine | HelperLine | None = None
        self.status = Heartbeat(run, attempt, silent=post.helps)
        self.witness = Witness(run, attempt)
        self.variables = {
            **post.variables(),
            SUPERVISOR_VARIABLE: f"{os.getpid()} {own_start_time()}",
            ATTEMPT_VARIABLE: str(attempt.number),
        }
        self.companions = Companions(run, attempt, variables=self.variables)

    def supervise(self) -> int:
        if self.post.helps:
            return self._help()
        status = self.run.read_status()
        if (status.state, status.attempt) != ("pending", self.attempt.number):
            say(f"refused: status.json says {status.state}, attempt {status.attempt}; this is {self.attempt.number}")
            return 3
        adopt_orphans()
        self._listen()
        if self.post.under == "local":
            Handle(launcher="local", attempt=self.attempt.number, facts=own_place()).write(self.run)
        say(f"attempt {self.attempt.number} begins, pid {os.getpid()}")
        plan = self._read_plan()
        if not self.post.node:
            self.companions.start(plan.companions)
        state, message = self._run_stages(plan)
        if state == "failed":
            message = "; ".join(filter(None, [message, tell_full_disk(self.run.path)]))
        if self.line is not None:
            self.line.close(state, message)
        message = self._finish_companions(state, "; ".join(filter(None, [self.attempt.stop_note(), message])))
        if self.status.superseded():
            say(f"a later attempt has taken over; this one ended as {state} and writes nothing more")
            return 4
        say(f"{state}: {message}")
        witnessed = self.witness.tell()
        if state == "preempted" and self.post.under != "local" and self.attempt.stop_request.exists():
            self.status.become("stopping", message or "saved")
            return LEFT_TO_LAUNCHER
        self.status.write_last(state, message)
        if not witnessed:
            self.witness.tell()  # status.json could be written by now
        return 0

    def _help(self) -> int:
        """Another node than the first: its share of the training, once node 0 has prepared the data."""
        adopt_orphans()
        self._listen()
        plan = self._read_plan()
        meeting = wait_for_meeting(self.run, self.attempt, self.post)
        if meeting is None:
            say("node 0 came to an end before it began to train")
            return 0
        stage = plan.stages[-1].located(run=str(self.run.path), python=sys.executable, meeting=meeting)
        code = self._run_stage(stage, plan.stop_deadline_s)
        say(f"stage {stage.name}: {describe_end(code)}")
        tell_end(self.attempt, self.post.node, code)
        return 0

    def _read_plan(self) -> Plan:
        return Plan.read(self.run.plan)

    def _listen(self) -> None:
        if SIGNALS_VARIABLE in os.environ:
            return  # ignored since before this process began: the launcher answers them

        def note(number: int, frame: FrameType | None) -> None:
            self.signalled = True

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _run_stages(self, plan: Plan) -> tuple[State, str]:
        try:
            self.line = open_line(self.run, self.attempt, self.post, plan) if self.post.apart else None
        except LaunchError as error:
            return "failed", str(error)
        for stage in plan.stages:
            if self._stop_wanted():
                return self._stopped_outside_train(stage)
            self.status.become("running", f"stage {stage.name}")
            several = plan.resources.nodes > 1 and stage.name == "train"
            meeting = open_meeting(self.attempt, self.post) if several else ALONE
            located = stage.located(run=str(self.run.path), python=sys.executable, meeting=meeting)
            code = self._run_stage(located, plan.stop_deadline_s)
            kernel = self._answer_memory(tell_oom_kills(self.witness.oom_kills.machine), plan)
            say(f"stage {stage.name}: {describe_end(code)}")
            failed = self._failed_node()
            if stage.name == "train" and not self.attempt.exit.exists() and failed:
                return "failed", f"{failed}; see {self.attempt.stage_log(stage.name)}"
            if self.post.node and stage.name == "train":
                return self._share_done(code)
            if self.attempt.exit.exists() or stage.name == "train":
                state, message = outcome_of(self.attempt, stage.name, code, kernel=kernel)
                return state, "; ".join(filter(None, [failed if state == "failed" else "", message]))
            if self._stop_wanted():
                return self._stopped_outside_train(stage)
            if failed:
                return "failed", failed
            if code != 0:
                end = with_kernel(f"stage {stage.name} {describe_end(code)}", kernel)
                return "failed", f"{end}; see {self.attempt.stage_log(stage.name)}"
        return "failed", "the plan has no train stage"

    def _share_done(self, code: int) -> tuple[State, str]:
        """Of a node that is apart: how the job ended, rank 0 says on node 0."""
        state: State = "finished" if code == 0 else "failed"
        if self.attempt.stop_request.exists():
            state = self._state_as_asked()
        return state, f"the share of node {self.post.node} {describe_end(code)}"

    def _stopped_outside_train(self, stage: Stage) -> tuple[State, str]:
        return self._state_as_asked(), f"stopped as asked, in stage {stage.name}: there was nothing to save yet"

    def _state_as_asked(self) -> State:
        return "cancelled" if self.attempt.stop_reason() == "cancel" else "preempted"

    def _finish_companions(self, state: State, message: str) -> str:
        """Time for the uploader's last round. A `cancel` or a signal that comes now cuts it short."""
        asked_before = read_time(self.attempt.stop_request)
        self.signalled = False
        hurried = SIGNALS_VARIABLE in os.environ and self.attempt.stop_reason() == "preempt"
        until = time.monotonic() + (HURRIED_FINISH_S if hurried else float("inf"))

        def go_on() -> bool:
            if self.status.message != UPLOADING:
                self.status.become("stopping", UPLOADING)
            self.status.beat()
            asked = self.signalled or read_time(self.attempt.stop_request) != asked_before
            return not (asked or self.status.superseded() or time.monotonic() > until)

        self.companions.finish(state, message, go_on=go_on)
        return "; ".join(filter(None, [message, self.companions.upload_problem()]))

    def _answer_memory(self, told: str, plan: Plan) -> str:
        """With the setting of this job that needs less."""
        if not told or not self.run.job.exists():
            return told
        from runjob.schemas.job_json import read_job_json
        from runjob.schemas.less_memory import less_memory  # the job's dataclasses take 50 ms, and memory seldom ends

        job = read_job_json(self.run.job).job
        return f"{told}; try --set {less_memory(job, ranks=plan.batch.ranks, where='training')[0]}"

    def _run_stage(self, stage: Stage, stop_deadline_s: float) -> int:
        """Start one stage, wait for its end, and leave nothing of it behind."""
        say(f"stage {stage.name}: {list(stage.argv)}")
        name = f"{stage.name}-node-{self.post.node}" if self.post.node else stage.name
        try:
            process = start_program(stage, self.run, self.attempt.stage_log(name), variables=self.variables)
        except OSError as error:
            say(f"stage {stage.name} can't be started: {error}")
            self.witness.stage_ended(StageEnd(name=stage.name, pid=0, code=127, errno=errno_name(error.errno)))
            return 127
        watchdog = Watchdog(self.run, self.attempt) if stage.name == "train" and not self.post.node else None
        ended_by = self._wait(process, grace_s=stop_deadline_s if stage.name == "train" else 0.0, watchdog=watchdog)
        left = self._end_processes(process, grace_s=0.0)
        if left:
            say(f"stage {stage.name}: {left} processes outlived it and were killed")
        code = process.wait()
        self.witness.stage_ended(StageEnd(name=stage.name, pid=process.pid, code=code, ended_by=ended_by))
        return code

    def _wait(self, process: "subprocess.Popen[bytes]", *, grace_s: float, watchdog: Watchdog | None) -> str:
        """Until the process ends; `grace_s` is how long it may go on by itself once a stop is wanted. Why it was ended
        from here, if it was."""
        stop_at = linger_until = float("inf")
        while process.poll() is None:
            now = time.monotonic()
            if stop_at == float("inf") and self._stop_wanted():
                stop_at = now + grace_s
                say(f"asked to stop ({self.attempt.stop_reason()}), {grace_s:.0f} s from now at the latest")
                self.status.become("stopping", "saving" if grace_s else "")
            if linger_until == float("inf"):
                linger_until = now + self._patience_left(grace_s)
            if self.status.superseded():
                say("a later attempt has taken over: everything of this one ends now, unsaved")
                self._end_processes(process, grace_s=0.0)
                return "a later attempt has taken over"
            if watchdog is not None and stop_at == float("inf") and watchdog.hung():
                why = watchdog.describe()
                ask_stacks()
                self._end_processes(process, grace_s=0.0)
                watchdog.report(why)
                return why
            if now >= min(stop_at, linger_until):
                say("the stage did not end by itself: its stacks, SIGTERM, then SIGKILL")
                ask_stacks()
                self._end_processes(process, grace_s=STAGE_GRACE_S)
                return "asked to stop, and did not" if now >= stop_at else "its part was over, and it did not end"
            self.companions.look()
            self.witness.look()
            self.status.beat()
            time.sleep(POLL_S)
        return ""

    def _patience_left(self, grace_s: float) -> float:
        """How long a stage may still take: endless while the attempt has neither said how it ended nor lost a node."""
        if self.attempt.exit.exists() or (self.post.helps and is_over(self.run, self.attempt)):
            return LINGER_S
        return min(NODE_GRACE_S, grace_s) if not self.post.helps and self._failed_node() else float("inf")

    def _failed_node(self) -> str:
        """Which other node failed, and how: where nodes are apart by what the line brings, else by their files."""
        if self.line is not None:
            self.line.look()
            return self.line.failure()
        return failed_node(self.attempt)

    def _end_processes(self, stage: "subprocess.Popen[bytes]", *, grace_s: float) -> int:
        return end_descendants(stage.pid, grace_s=grace_s, spare=self.companions.pids())

    def _stop_wanted(self) -> bool:
        if self.signalled and not self.post.helps:
            self.signalled = False
            self.attempt.request_stop("preempt")
        return self.attempt.stop_request.exists()


def read_time(request: Path) -> int:
    """When a request to stop was last written; 0 where there is none."""
    return request.stat().st_mtime_ns if request.exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runjob.launchers.supervisor")
    parser.add_argument("run", type=Path)
    parser.add_argument("attempt", type=int)
    for field in dataclasses.fields(Post):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    args = parser.parse_args()
    allow_open_files()
    run = RunDir(args.run)
    post = Post(under=args.under, node=args.node, master=args.master, port=args.port, apart=args.apart)
    try:
        return Supervisor(run, run.attempt(args.attempt), post).supervise()
    except RunjobError as error:
        say(f"can't go on: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
