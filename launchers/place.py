"""Which process on which machine: what a handle must hold so that nobody mistakes a stranger for our supervisor.

A pid alone is reused; a pid with its start time is not, until the next boot; and two containers on one host share the
boot but not the process table. So a place is host name, boot id and process namespace together.
"""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from runjob.schemas.errors import RunjobError
from runjob.schemas.processes import own_start_time, process_alive

Presence = Literal["alive", "dead", "elsewhere"]
# What stands in a handle for "somebody is at it": the facts of the process that submits, until something runs there
SUBMITTER = "by_"
# What must stand there of a process
FACTS: Mapping[str, type] = {"host": str, "pid": int, "start_time": int, "boot_id": str, "process_namespace": str}


def boot_id() -> str:
    """The kernel's name for this boot; empty where there is none (macOS)."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def process_namespace() -> str:
    link = Path("/proc/self/ns/pid")
    return str(link.readlink()) if link.is_symlink() else ""


def own_place() -> dict[str, str | int]:
    """The facts by which this process is found again."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "start_time": own_start_time(),
        "boot_id": boot_id(),
        "process_namespace": process_namespace(),
        "python": sys.executable,
    }


def as_submitter() -> dict[str, str | int]:
    """This process, in the handle of a job that it is about to bring somewhere."""
    return {SUBMITTER + name: value for name, value in own_place().items()}


def submitter_of(handle: Mapping[str, str | int]) -> dict[str, str | int]:
    """Who is submitting, by a handle's facts; empty once something runs there."""
    return {name.removeprefix(SUBMITTER): value for name, value in handle.items() if name.startswith(SUBMITTER)}


def look_for_submitter(handle: Mapping[str, str | int]) -> Presence | Literal["none"]:
    """Does the process that submits still live? `none`: the job was started, and nobody submits it any more."""
    found = submitter_of(handle)
    return look_for(found) if found else "none"


def submitted_elsewhere(submitter: Mapping[str, str | int]) -> str:
    """Of a submission that another login node or container of the same RUNJOB_HOME has begun: it may be at it."""
    seen = f"{submitter['host']} (pid {submitter['pid']}), whose processes can't be seen from here"
    return f"unreachable: its submission was begun on {seen}; nothing runs yet"


def look_for(facts: Mapping[str, str | int]) -> Presence:
    """Is the process of a handle alive, dead, or out of sight because it ran on another machine or in a container?"""
    if wrong := [name for name, kind in FACTS.items() if not isinstance(facts.get(name), kind)]:
        raise RunjobError(f"handle.json: damaged: it lacks {', '.join(wrong)}, by which a process is found again")
    same_host = facts["host"] == socket.gethostname()
    if facts["boot_id"] != boot_id():
        return "dead" if same_host else "elsewhere"
    if facts["process_namespace"] != process_namespace() or (not facts["boot_id"] and not same_host):
        return "elsewhere"
    return "alive" if process_alive(int(facts["pid"]), int(facts["start_time"])) else "dead"
