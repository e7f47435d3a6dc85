"""Everything that an attempt left behind, read once. What can't be read is a trace itself, and stops nothing."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runjob.launchers.base import read_handle
from runjob.launchers.kernel import killed_by_kernel
from runjob.launchers.place import boot_id
from runjob.schemas.ended import Ended, PlaceWord, read_ended, read_place_word
from runjob.schemas.errors import RunjobError
from runjob.schemas.json_object import read_object
from runjob.schemas.run import Attempt, Exit, RunDir, Status

Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """`ranks` are the words of failed ranks, 0 for exit.json; `unreadable` what is damaged, by file."""

    status: Status
    attempt: Attempt
    ranks: dict[int, Exit]
    ended: Ended | None
    place: PlaceWord | None
    launcher: str
    handle: dict[str, Any]
    stop: dict[str, Any]
    preempt_event: dict[str, Any]
    stream_failure: dict[str, Any]
    started_anew: bool
    supervisor_killed_for_memory: bool
    unreadable: tuple[str, ...]

    def file(self, name: str) -> str:
        return f"attempts/{self.attempt.number}/{name}"

    @property
    def exit(self) -> Exit | None:
        return self.ranks.get(0)


def gather(run: RunDir, attempt: Attempt, status: Status) -> Traces:
    problems: list[str] = []

    def whole(read: Callable[[], Read | None]) -> Read | None:
        try:
            return read()
        except RunjobError as error:
            problems.append(str(error))
            return None

    words = {number: whole(lambda number=number: attempt.read_exit(number)) for number in ranks_with_words(attempt)}  # type: ignore[misc]
    handle = whole(lambda: read_handle(run))
    facts = dict(handle.facts) if handle is not None else {}
    return Traces(
        status=status,
        attempt=attempt,
        ranks={number: said for number, said in words.items() if said is not None},
        ended=whole(lambda: read_ended(attempt.ended)),
        place=whole(lambda: read_place_word(attempt.place_word)),
        launcher=handle.launcher if handle is not None else "local",
        handle=facts,
        stop=read_object(attempt.stop_request),
        preempt_event=last_preempt(run, attempt) if status.state == "preempted" else {},
        stream_failure=read_object(run.stream_failure),
        started_anew=was_started_anew(facts),
        supervisor_killed_for_memory=status.state == "lost" and in_kernel_log(facts),
        unreadable=tuple(problems),
    )


def ranks_with_words(attempt: Attempt) -> list[int]:
    others = [path.stem.removeprefix("rank-") for path in attempt.path.glob("rank-*.json")]
    return [0, *sorted(int(number) for number in others if number.isdecimal() and int(number))]


def last_preempt(run: RunDir, attempt: Attempt) -> dict[str, Any]:
    """The journal's word on an orderly stop: `reason` is stop_after, stream, preempted or cancelled."""
    try:
        found = [record for record in run.read_events("preempt") if record["attempt"] == attempt.number]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found[-1] if found else {}


def was_started_anew(facts: dict[str, Any]) -> bool:
    return facts.get("host") == socket.gethostname() and facts.get("boot_id") not in (None, boot_id())


def in_kernel_log(facts: dict[str, Any]) -> bool:
    """Does the log of this very kernel say that it killed the supervisor for want of memory?"""
    if facts.get("boot_id") != boot_id() or facts.get("process_namespace") != own_namespace():
        return False
    return facts.get("pid") in (killed_by_kernel(0.0) or ())


def own_namespace() -> str:
    link = Path("/proc/self/ns/pid")
    return str(link.readlink()) if link.is_symlink() else ""
