"""The small program that stands over one attempt: `python -m runjob.launchers.supervisor RUN_DIR ATTEMPT [options]`.

It is started detached, runs the plan's stages one after another, writes what happened to status.json, and turns a wish
to stop (attempts/N/stop.json, or a SIGTERM) into an orderly end. While it lives nobody else writes status.json. If it
is killed, the kernel kills its stage with it. The same program serves here and on a remote host, and on every node of
several: node 0's is this one; those of other nodes (`--node K`) wait until the data are prepared, start their share of
the training, and write nothing but their own logs.
"""

import argparse
import dataclasses
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
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
    SIGNALS_VARIABLE,
    SUPERVISOR_VARIABLE,
    adopt_orphans,
    own_start_time,
    set_parent_death_signal,
)
from runjob.schemas.own_log import say
from runjob.schemas.plan import ALONE, Meeting, Plan, Stage
from runjob.schemas.read import read_job_json
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, State, read_json, write_json

POLL_S = 0.05
HEARTBEAT_S = 5.0
# A stage before `train` has nothing to save, but may want to remove what it half wrote.
STAGE_GRACE_S = 5.0
# A rank that has written exit.json has only to close its process group; one that hangs there is helped along.
LINGER_S = 60.0
# A full disk is often emptied by somebody within minutes; the job's end should not be forgotten over it.
FINAL_WRITE_PATIENCE_S = 120.0
# Rank 0 sees the connection to a failed node break within moments, and says so; one deep in a collective may not.
NODE_GRACE_S = 10.0
UPLOADING = "uploading what is left"
# A cluster that takes its nodes back kills soon, and keeps the run directory: the next attempt uploads what is left.
HURRIED_FINISH_S = 15.0
# How the supervisor ends where a launcher decides what becomes of a job that has saved at its request.
LEFT_TO_LAUNCHER = 75


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where a supervisor stands: under which launcher, on which node, and where the nodes meet. Port 0: node 0 takes a
    free one and says it in the attempt's meeting.json, which all nodes see then. A node that is `apart` (1) has a copy
    of the run that nobody else sees: it prepares its own data and says in its own status.json how it is."""

    under: str = "local"
    node: int = 0
    master: str = "127.0.0.1"
    port: int = 0
    apart: int = 0


class Supervisor:
    def __init__(self, run: RunDir, attempt: Attempt, post: Post | None = None) -> None:
        self.run = run
        self.attempt = attempt
        self.post = post or Post()
        self.signalled = False
        self.next_beat = 0.0
        self.state: State = "pending"
        self.message = ""
        self.companions = Companions(run, attempt, variables=self._own_variables(), say=say)

    @property
    def _helps(self) -> bool:
        """Is this another node than the first of a run that all of them see?"""
        return bool(self.post.node) and not self.post.apart

    def supervise(self) -> int:
        if self._helps:
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
        plan = Plan.from_json(self.run.plan.read_text(encoding="utf-8"))
        if not self.post.node:
            self.companions.start(plan.companions)
        state, message = self._run_stages(plan)
        message = self._finish_companions(state, "; ".join(filter(None, [self.attempt.stop_note(), message])))
        if self._superseded():
            say(f"a later attempt has taken over; this one ended as {state} and writes nothing more")
            return 4
        say(f"{state}: {message}")
        if state == "preempted" and self.post.under != "local" and self.attempt.stop_request.exists():
            self._become("stopping", message or "saved")
            return LEFT_TO_LAUNCHER
        self._write_last(state, message)
        return 0

    def _help(self) -> int:
        """Another node than the first: its share of the training, once node 0 has prepared the data."""
        adopt_orphans()
        self._listen()
        plan = Plan.from_json(self.run.plan.read_text(encoding="utf-8"))
        port = self._wait_for_meeting()
        if port is None:
            say("node 0 came to an end before it began to train")
            return 0
        meeting = Meeting(node=self.post.node, master=self.post.master, port=port)
        stage = plan.stages[-1].located(run=str(self.run.path), python=sys.executable, meeting=meeting)
        code = self._run_stage(stage, plan.stop_deadline_s)
        say(f"stage {stage.name}: {describe_end(code)}")
        write_json(self.attempt.node_end(self.post.node), {"code": code, "end": describe_end(code)})
        return 0

    def _wait_for_meeting(self) -> int | None:
        """The port, when node 0 begins to train; None if it ends before, or is asked to."""
        if self.post.port:
            return self.post.port
        asked_at = float("inf")
        while not self.attempt.meeting.exists():
            asked_at = min(asked_at, time.monotonic()) if self.attempt.stop_request.exists() else float("inf")
            # it may have begun just before it was asked
            if self._over() or self._superseded() or time.monotonic() > asked_at + STAGE_GRACE_S:
                return None
            time.sleep(POLL_S)
        return int(read_json(self.attempt.meeting)["port"])

    def _over(self) -> bool:
        """Has node 0 said that this attempt is at its end?"""
        status = self.run.read_status()
        return status.attempt != self.attempt.number or status.state not in ALIVE_STATES

    def _open_meeting(self) -> Meeting:
        """A port of node 0 that is free now, told to the others."""
        port = self.post.port or free_port()
        write_json(self.attempt.meeting, {"master": self.post.master, "port": port})
        return Meeting(node=self.post.node, master=self.post.master, port=port)

    def _listen(self) -> None:
        if SIGNALS_VARIABLE in os.environ:
            return  # ignored since before this process began: the launcher answers them

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
            meeting = self._open_meeting() if plan.resources.nodes > 1 and stage.name == "train" else ALONE
            located = stage.located(run=str(self.run.path), python=sys.executable, meeting=meeting)
            code = self._run_stage(located, plan.stop_deadline_s)
            kernel = self._answer_memory(tell_oom_kills(killed_before, count_oom_kills()), plan)
            say(f"stage {stage.name}: {describe_end(code)}")
            if stage.name == "train" and not self.attempt.exit.exists() and self._failed_node():
                return "failed", f"{self._failed_node()}; see {self.attempt.stage_log(stage.name)}"
            if self.post.node and stage.name == "train":
                return self._share_done(code)
            if self.attempt.exit.exists() or stage.name == "train":
                return outcome_of(self.attempt, stage.name, code, kernel=kernel)
            if self._stop_wanted():
                return self._stopped_outside_train(stage)
            if code != 0:
                end = with_kernel(f"stage {stage.name} {describe_end(code)}", kernel)
                return "failed", f"{end}; see {self.attempt.stage_log(stage.name)}"
        return "failed", "the plan has no train stage"

    def _share_done(self, code: int) -> tuple[State, str]:
        """Of a node that is apart: how the job ended, rank 0 says on node 0."""
        state: State = "finished" if code == 0 else "failed"
        if self.attempt.stop_request.exists():
            state = "cancelled" if self.attempt.stop_reason() == "cancel" else "preempted"
        return state, f"the share of node {self.post.node} {describe_end(code)}"

    def _finish_companions(self, state: State, message: str) -> str:
        """Time for the uploader's last round. A `cancel` or a signal that comes now cuts it short."""
        asked_before = read_time(self.attempt.stop_request)
        self.signalled = False
        hurried = SIGNALS_VARIABLE in os.environ and self.attempt.stop_reason() == "preempt"
        until = time.monotonic() + (HURRIED_FINISH_S if hurried else float("inf"))

        def go_on() -> bool:
            if self.message != UPLOADING:
                self._become("stopping", UPLOADING)
            self._beat(time.monotonic())
            asked = self.signalled or read_time(self.attempt.stop_request) != asked_before
            return not (asked or self._superseded() or time.monotonic() > until)

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
            with self._log_of(stage).open("ab") as log:
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

    def _log_of(self, stage: Stage) -> Path:
        name = f"{stage.name}-node-{self.post.node}" if self.post.node else stage.name
        return self.attempt.stage_log(name)

    def _failed_node(self) -> str:
        """`node 1 ended with code 1`, of the first other node that says so."""
        for path in sorted(self.attempt.path.glob("node-*.json")):
            said = read_json(path)
            if said["code"] != 0:
                return f"node {path.stem.removeprefix('node-')} {said['end']}"
        return ""

    def _own_variables(self) -> dict[str, str]:
        return {
            **(
                {"GLOO_SOCKET_IFNAME": "lo"}
                if self.post.master != Post.master and on_loopback(self.post.master)
                else {}
            ),
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
            if linger_until == float("inf") and (self.attempt.exit.exists() or (self._helps and self._over())):
                linger_until = now + LINGER_S
            if linger_until == float("inf") and not self.post.node and self._failed_node():
                linger_until = now + NODE_GRACE_S
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
        if self.signalled and not self._helps:
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
        if self._helps or self._superseded():
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


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


def on_loopback(host: str) -> bool:
    """Gloo takes the interface of this machine's own name, by which a loopback address does not answer."""
    return ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0]).is_loopback


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runjob.launchers.supervisor")
    parser.add_argument("run", type=Path)
    parser.add_argument("attempt", type=int)
    for field in dataclasses.fields(Post):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    args = parser.parse_args()
    run = RunDir(args.run)
    post = Post(under=args.under, node=args.node, master=args.master, port=args.port, apart=args.apart)
    try:
        return Supervisor(run, run.attempt(args.attempt), post).supervise()
    except RunjobError as error:
        say(f"can't go on: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
