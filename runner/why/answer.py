"""What `runjob why` answers: the class first, then what shows it, what to change and what to type."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from runjob.launchers.logs import tail
from runjob.runner.runs import checkpoint_steps, is_elsewhere, summarise
from runjob.runner.why.change import Setting, Subject, as_yaml, find_settings, resume_command
from runjob.runner.why.classes import MEANINGS, Evidence, Finding
from runjob.runner.why.classify import classify
from runjob.runner.why.traces import Traces, gather
from runjob.schemas.errors import RunjobError
from runjob.schemas.job_json import read_job_json
from runjob.schemas.plan import Plan, StageName
from runjob.schemas.run import Attempt, Exit, RunDir, Status

LAST_LINES = 20
# In the order in which they run
STAGES: tuple[StageName, ...] = get_args(StageName)
# What the supervisor was at is in the last ones; each names a whole command line.
LAST_OF_SUPERVISOR = 3
# How runjob begins a line that tells of an error
PROGRAM = "runjob: "


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`finding` is None of a run that has not ended, or ended as it should; `unreadable` names what is damaged, `logs`
    are the telling ones, the most telling last."""

    run: RunDir
    status: Status
    step: int
    finding: Finding | None
    said: Exit | None
    unreadable: tuple[str, ...]
    logs: tuple[Path, ...]
    settings: tuple[Setting, ...]

    @property
    def head(self) -> str:
        kind = self.finding.kind if self.finding is not None else self.status.state
        return f"{self.run.id}: {kind}, at step {self.step}, attempt {self.status.attempt}"

    @property
    def last_lines(self) -> list[str]:
        return tail(self.logs[-1], LAST_LINES).splitlines() if self.logs else []


def answer(run: RunDir, status: Status) -> Answer:
    attempts = run.list_attempts()
    if not attempts:
        return Answer(run=run, status=status, step=0, finding=None, said=None, unreadable=(), logs=(), settings=())
    attempt = attempts[-1]
    traces = gather(run, attempt, status)
    finding = classify(traces)
    said = traces.exit
    step = said.step if said is not None else summarise(run, status).step
    return Answer(
        run=run,
        status=status,
        step=step if step is not None else 0,
        finding=finding,
        said=said,
        unreadable=traces.unreadable,
        logs=tuple(telling_logs(run, attempt, status)),
        settings=tuple(settings_for(run, finding, traces)),
    )


def settings_for(run: RunDir, finding: Finding | None, traces: Traces) -> list[Setting]:
    """None where job and plan of the run can't be read by this version."""
    if finding is None:
        return []
    try:
        subject = Subject(
            resolved=read_job_json(run.job),
            plan=Plan.read(run.plan),
            traces=traces,
        )
    except (RunjobError, OSError, ValueError, KeyError, TypeError):
        return []
    return find_settings(finding.kind, subject)


def telling_logs(run: RunDir, attempt: Attempt, status: Status) -> list[Path]:
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


def as_text(found: Answer) -> str:
    """After the line of the state: what shows the class, the last lines, the change, the way on."""
    return "\n".join([found.head, *details(found)])


def details(found: Answer) -> list[str]:
    run, status, finding = found.run, found.status, found.finding
    if not run.list_attempts():
        return ["it was never started"]
    parts = [] if finding is None else [f"{finding.kind}: {MEANINGS[finding.kind]}"]
    parts += [] if finding is None else map(evidence_line, finding.evidence)
    parts += found.unreadable
    parts += words_of(found.said) if found.said is not None else without_words(found)
    if status.state in ("failed", "lost"):
        for log in found.logs:
            lines = LAST_OF_SUPERVISOR if log.name == "supervisor.log" else LAST_LINES
            told = not_yet_said(tail(log, lines), found.said)
            parts += [f"last lines of {log}:", told] if told else []
    if found.settings:
        asked = all(one.look for one in found.settings)
        heading = "what the job says there, which may be right:" if asked else "to be changed in the job:"
        parts += [heading, as_yaml(list(found.settings))]
    if status.state in ("failed", "lost", "preempted", "cancelled"):
        parts.append(way_on(found))
    if status.state == "unreachable":
        parts.append(f"it most likely goes on; to give that place up: runjob resume {run.id} --accept")
    return parts


def evidence_line(evidence: Evidence) -> str:
    return f"  {evidence.source}: {evidence.says}"


def words_of(said: Exit) -> list[str]:
    reason = f", {said.reason}" if said.reason else ""
    return [f"rank 0 said, at step {said.step}: {said.outcome}{reason}", *filter(None, [said.error.strip()])]


def not_yet_said(lines: str, said: Exit | None) -> str:
    """A stage ends its log with the words that it leaves for exit.json."""
    return lines if said is None else lines.removesuffix(f"{PROGRAM}{said.error.strip()}").rstrip()


def without_words(found: Answer) -> list[str]:
    if found.status.state == "failed":
        return ["no exit.json: it was ended, or broke, before it could say why"]
    if found.status.state == "lost" and any(log.name == "supervisor.log" for log in found.logs):
        return [
            f"no exit.json, and no last word in supervisor.log: {killer_of(found)}. All that it ran ended with it, and "
            "nothing need be wrong with the job"
        ]
    return []


def killer_of(found: Answer) -> str:
    """What ends a supervisor without a word."""
    if found.finding is not None and any(one.source == "handle.json, boot_id" for one in found.finding.evidence):
        return "this machine was started anew under it"
    return "the supervisor itself was killed (kill -9, or the kernel for want of memory), or its machine went down"


def command_of(found: Answer) -> str:
    """What to type next; nothing where there is nothing to do."""
    if found.status.state == "unreachable":
        return f"runjob resume {found.run.id} --accept"
    if found.status.state in ("failed", "lost", "preempted", "cancelled"):
        return resume_command(found.run.id, list(found.settings))
    return ""


def way_on(found: Answer) -> str:
    """What to type next; a job that failed without a checkpoint would only run into the same once more."""
    run, command = found.run, command_of(found)
    if checkpoint_steps(run):
        return f"to go on from the newest complete checkpoint: {command}"
    if is_elsewhere(run):
        return f"no checkpoint of it is here; {command} brings the newest home and goes on from it"
    mended = "once that is mended, " if found.status.state == "failed" else ""
    return f"it has no checkpoint yet; {mended}{command} begins again at step 0"


def as_json(found: Answer) -> dict[str, Any]:
    finding = found.finding
    return {
        "id": found.run.id,
        **dataclasses.asdict(found.status),
        "class": None if finding is None else finding.kind,
        "step": found.step,
        "evidence": [] if finding is None else [dataclasses.asdict(one) for one in finding.evidence],
        "change": as_yaml(list(found.settings)),
        "command": command_of(found),
        "exit": dataclasses.asdict(found.said) if found.said is not None else None,
        "log": str(found.logs[-1]) if found.logs else None,
        "last_lines": found.last_lines,
    }
