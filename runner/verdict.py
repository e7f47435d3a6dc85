"""The class of a failure, as `why` tells it, remembered: RUN/verdict.json.

To tell it takes a look at everything that an attempt left behind, and `ps` shows it of many jobs. So whoever tells it
first writes it down, with what it was told of; once anything of that is another, it is told anew.
"""

import contextlib
from typing import Any

from runjob.schemas.json_object import read_object
from runjob.schemas.run import RunDir, Status, write_json, written_at


def failure_class(run: RunDir, status: Status) -> str | None:
    """None of a job that has not come to grief; one of runner/why/classes.py else."""
    if status.state not in ("failed", "lost"):
        return None
    told_of = traces_of(run, status)
    known = read_object(run.verdict)
    if known.get("of") == told_of and isinstance(kind := known.get("class"), str):
        return kind
    return tell_anew(run, status, told_of)


def tell_anew(run: RunDir, status: Status, told_of: dict[str, Any]) -> str | None:
    from runjob.runner.why.classify import classify  # which a `ps` without new failures does without
    from runjob.runner.why.traces import gather

    attempts = run.list_attempts()
    if not attempts:
        return None
    finding = classify(gather(run, attempts[-1], status))
    if finding is None:
        return None
    with contextlib.suppress(OSError):  # somebody else's run, a full disk: it is told again the next time
        write_json(run.verdict, {"class": finding.kind, "of": told_of})
    return finding.kind


def traces_of(run: RunDir, status: Status) -> dict[str, Any]:
    """What tells one end from another: its state, and when a file last came to its attempt or was replaced there."""
    attempt = run.attempt(status.attempt)
    return {
        "state": status.state,
        "attempt": status.attempt,
        "updated": status.updated,
        "written": written_at(f"{attempt.path}"),
    }
