"""Why a run ended, and what to type next: rank 0's own words where it came to say any, else what its logs hold."""

import socket
from pathlib import Path
from typing import get_args

from runjob.launchers.logs import tail
from runjob.launchers.place import boot_id
from runjob.runner.runs import checkpoint_steps, is_elsewhere
from runjob.schemas.errors import RunjobError
from runjob.schemas.json_object import read_object
from runjob.schemas.plan import StageName
from runjob.schemas.run import Attempt, Exit, RunDir, Status

LAST_LINES = 20
# In the order in which they run
STAGES: tuple[StageName, ...] = get_args(StageName)
# What the supervisor was at is in the last ones; each names a whole command line.
LAST_OF_SUPERVISOR = 3


def explain(run: RunDir, status: Status) -> str:
    attempts = run.list_attempts()
    if not attempts:
        return "it was never started"
    attempt = attempts[-1]
    try:
        said = attempt.read_exit()
        parts = words_of(said) if said is not None else without_words(run, attempt, status)
    except RunjobError as error:
        parts = [str(error)]
    if status.state in ("failed", "lost"):
        for log in evidence(run, attempt, status):
            lines = LAST_OF_SUPERVISOR if log == attempt.supervisor_log else LAST_LINES
            parts += [f"last lines of {log}:", tail(log, lines)]
    if status.state in ("failed", "lost", "preempted", "cancelled"):
        parts.append(way_on(run, status))
    if status.state == "unreachable":
        parts.append(f"it most likely goes on; to give that place up: runjob resume {run.id} --accept")
    return "\n".join(parts)


def words_of(said: Exit) -> list[str]:
    reason = f", {said.reason}" if said.reason else ""
    return [f"rank 0 said, at step {said.step}: {said.outcome}{reason}", *filter(None, [said.error.strip()])]


def without_words(run: RunDir, attempt: Attempt, status: Status) -> list[str]:
    if status.state == "failed":
        return ["no exit.json: it was ended, or broke, before it could say why"]
    if status.state == "lost" and has_content(attempt.supervisor_log):
        return [
            f"no exit.json, and no last word in supervisor.log: {killer_of(run)}. All that it ran ended with it, and "
            "nothing need be wrong with the job"
        ]
    return []


def killer_of(run: RunDir) -> str:
    """What ends a supervisor without a word."""
    facts = read_object(run.handle)
    if facts.get("host") == socket.gethostname() and facts.get("boot_id") not in (None, boot_id()):
        return "this machine was started anew under it"
    return "the supervisor itself was killed (kill -9, or the kernel for want of memory), or its machine went down"


def evidence(run: RunDir, attempt: Attempt, status: Status) -> list[Path]:
    """The logs that hold the reason, the most telling one last: the newest of a rank's, else that of the stage that
    came last, else what its launcher kept; before it the supervisor's, where that was lost or nobody else wrote."""
    ranks = sorted(filter(has_content, attempt.path.glob("rank-*.log")), key=lambda path: path.stat().st_mtime)
    began = [log for log in map(attempt.stage_log, STAGES) if log.exists()]
    found = ranks[-1:] or list(filter(has_content, began[-1:] or [attempt.launcher_log]))
    if has_content(attempt.supervisor_log) and (status.state == "lost" or not found):
        return [attempt.supervisor_log, *found]
    return found


def has_content(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


def way_on(run: RunDir, status: Status) -> str:
    """What to type next; a job that failed without a checkpoint would only run into the same once more."""
    if checkpoint_steps(run):
        return f"to go on from the newest complete checkpoint: runjob resume {run.id}"
    if is_elsewhere(run):
        return f"no checkpoint of it is here; runjob resume {run.id} brings the newest home and goes on from it"
    mended = "once that is mended, " if status.state == "failed" else ""
    return f"it has no checkpoint yet; {mended}runjob resume {run.id} begins again at step 0"
