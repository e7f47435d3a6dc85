"""What Slurm starts on each node of a job, through submitit: `stand_by(RUN, ATTEMPT, RETRIES, WARNING_S)`.

It stands over the supervisor as Slurm stands over it. Slurm's signals (USR2 before the time limit, TERM before anything
else) go to every process of a job; below this one all ignore them, and this one alone turns them into the request to
save and stop. When the job has saved, it goes back into Slurm's queue under its own id, and comes here again as the
next attempt. What happened stands in the run directory; nothing is returned.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from runjob.launchers.base import read_handle
from runjob.launchers.outcome import describe_end
from runjob.launchers.slurm_fate import ask_fate, requeue
from runjob.launchers.slurm_meeting import address_of
from runjob.launchers.supervisor import LEFT_TO_LAUNCHER
from runjob.schemas.ended import PlaceWord
from runjob.schemas.lifeline import SIGNALS_VARIABLE, set_parent_death_signal
from runjob.schemas.own_log import say
from runjob.schemas.quantities import counted
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, read_json, write_json

# Slurm's own two; the others would only end processes that have something to save.
IGNORED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
POLL_S = 0.1
# Node 0 makes the attempt within moments of its start; a shared folder may show it to the others much later.
ANNOUNCEMENT_PATIENCE_S = 300.0
NOTHING_TO_DO = 0


class Signals:
    """Handlers of our own in place of submitit's, which would end the task, or call its own requeue."""

    def __init__(self) -> None:
        self.came = False

    def listen(self) -> None:
        for number in IGNORED:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True


def stand_by(run_path: str, first_attempt: str, retries: str, warning_s: str) -> None:
    """The task of one node, to its end. A failed job ends with code 1, so that Slurm counts it as failed too."""
    signals = Signals()
    signals.listen()
    run, node = RunDir(Path(run_path)), int(os.environ["SLURM_NODEID"])
    if node:
        number = wait_for_announcement(run)
    else:
        number = begin(run, int(first_attempt), int(retries))
        announce(run, number)
    if number == NOTHING_TO_DO:
        return
    attempt = run.attempt(number)
    code = stand_over(run, attempt, node, signals)
    if node == 0 and code == LEFT_TO_LAUNCHER:
        settle(run, attempt, int(warning_s))
    if node == 0 and code < 0:
        message = f"its supervisor {describe_end(code)}; see {attempt.supervisor_log}"
        PlaceWord(launcher="slurm", code=code).write(attempt.place_word)
        run.write_status("failed", attempt=attempt.number, message=message)
    if node == 0 and run.read_status().state == "failed":
        sys.exit(1)


def begin(run: RunDir, first_attempt: int, retries: int) -> int:
    """The number of the attempt that this start of the Slurm job is; 0 where there is nothing to do."""
    handle, status = read_handle(run), run.read_status()
    if handle is not None and (handle.launcher != "slurm" or handle.facts.get("job") not in ("", own_job())):
        place = f"{handle.launcher} {handle.facts.get('job', '')}".strip()
        say(f"Slurm job {own_job()} has nothing to do: {run.id} is with {place} now")
        return NOTHING_TO_DO
    attempt = run.attempt(max(status.attempt, first_attempt))
    if attempt.stop_reason() == "cancel" and status.state in (*ALIVE_STATES, "preempted"):
        run.write_status("cancelled", attempt=attempt.number, message="cancelled while it waited in Slurm's queue")
        return NOTHING_TO_DO
    if status.state not in (*ALIVE_STATES, "preempted"):
        say(f"nothing to do: {run.id} is {status.state}")
        return NOTHING_TO_DO
    if not attempt.supervisor_log.exists():
        return attempt.number
    after = "preempted" if ended_in_order(attempt) else "lost"
    failures = count_failures(run) + 1
    if after == "lost" and failures > retries:
        allowed = f"hardware.slurm.node_failure_retries is {retries}"
        message = f"a node failed under it ({counted(failures, 'time')}), and {allowed}"
        PlaceWord(launcher="slurm", state="NODE_FAIL").write(attempt.place_word)
        run.write_status("failed", attempt=attempt.number, message=message)
        return NOTHING_TO_DO
    return next_attempt(run, attempt, after)


def own_job() -> str:
    """As squeue lists it and scontrol takes it: of a task of an array `4711_3`, whatever id of its own it has."""
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def ended_in_order(attempt: Attempt) -> bool:
    """Did it end itself, or was it at least asked to? Otherwise its node went away under it."""
    return attempt.exit.exists() or attempt.stop_request.exists()


def count_failures(run: RunDir) -> int:
    """Attempts that Slurm made because a node had gone."""
    orders = [attempt.path / "resume.json" for attempt in run.list_attempts()]
    return sum(read_json(order).get("requeued") == "lost" for order in orders if order.exists())


def next_attempt(run: RunDir, before: Attempt, after: str) -> int:
    """The attempt after `before`, made as `runjob resume` makes one; mkdir decides if both do."""
    attempt = run.attempt(before.number + 1)
    try:
        attempt.path.mkdir()
    except FileExistsError:
        say(f"nothing to do: attempt {attempt.number} was made by somebody else")
        return NOTHING_TO_DO
    for path in (run.job, run.plan, run.deepspeed):
        if path.exists():
            shutil.copyfile(path, before.path / path.name)
    order = before.path / "resume.json"
    # An attempt that never came to train leaves the wish it was given (`--from 500`) to the next one.
    untouched = order.exists() and not before.rank_log(0).exists()
    start_from = read_json(order)["from"] if untouched else "latest"
    write_json(attempt.path / "resume.json", {"from": start_from, "after": after, "requeued": after})
    run.write_status("pending", attempt=attempt.number, message="started again by Slurm")
    return attempt.number


def announcement(run: RunDir) -> Path:
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return run.path / "slurm" / f"{own_job()}-{restart}.json"


def announce(run: RunDir, number: int) -> None:
    """To the other nodes of this start: which attempt it is."""
    announcement(run).parent.mkdir(exist_ok=True)  # a task of an array has submitit's folder elsewhere
    write_json(announcement(run), {"attempt": number})


def wait_for_announcement(run: RunDir) -> int:
    deadline = time.monotonic() + ANNOUNCEMENT_PATIENCE_S
    file = announcement(run)
    while not file.exists():
        if time.monotonic() > deadline:
            say(f"node 0 said nothing for {ANNOUNCEMENT_PATIENCE_S:.0f} s in {file}")
            sys.exit(1)
        time.sleep(POLL_S)
    return int(read_json(file)["attempt"])


def stand_over(run: RunDir, attempt: Attempt, node: int, signals: Signals) -> int:
    """Start the node's supervisor and wait for it; a signal becomes the request to save and stop."""
    argv = [sys.executable, "-m", "runjob.launchers.supervisor", str(run.path), str(attempt.number), "--under=slurm"]
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    if nodes > 1:
        argv += [f"--node={node}", f"--master={address_of(os.environ['SLURM_JOB_NODELIST'])}"]
    log = attempt.supervisor_log if node == 0 else attempt.path / f"supervisor-{node}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            argv,
            cwd=run.path,
            env={**os.environ, SIGNALS_VARIABLE: "ignored"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=prepare_child,
        )
    while process.poll() is None:
        if signals.came and node == 0:
            attempt.request_stop("preempt")
        signals.came = False
        time.sleep(POLL_S)
    return process.returncode


def prepare_child() -> None:
    """Ignored signals stay ignored in everything that is started from here."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    set_parent_death_signal()


def settle(run: RunDir, attempt: Attempt, warning_s: int) -> None:
    """It has saved because Slurm wanted its node: back into the queue, unless it is Slurm's user who ends it."""
    said = attempt.read_exit()
    saved = f"saved at step {said.step}" if said is not None else "stopped before there was anything to save"
    fate = None if attempt.stop_reason() == "cancel" else ask_fate(own_job(), warning_s=warning_s)
    if fate is None or attempt.stop_reason() == "cancel":  # it may have come while Slurm was asked
        run.write_status("cancelled", attempt=attempt.number, message="saved and stopped as asked")
        return
    if fate.leave:
        run.write_status("stopping", attempt=attempt.number, message=f"{saved}; Slurm ends job {own_job()}")
        return
    message = f"{saved} and requeued by Slurm ({fate.why}): it goes on by itself"
    run.write_status("pending", attempt=attempt.number, message=message)
    problem = requeue(own_job())
    if problem:
        message = f"{saved}; Slurm did not take it into its queue again: {problem}"
        PlaceWord(launcher="slurm", state=fate.state).write(attempt.place_word)
        run.write_status("preempted", attempt=attempt.number, message=message)
