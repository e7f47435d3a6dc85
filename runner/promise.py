"""What a resume promises, and why: bit-identical where nothing that rounds has changed, else the same batches."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from runjob.runner.changes import Change
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.run import RunDir

SAME = "promised: batches, losses and weights go on bit-identical to an unbroken run"
SAME_BATCHES = (
    "promised: the same batches, token counts and learning rates; losses agree with an unbroken run to rounding "
    "(dropout 0, fp32: within 1e-4 relative over 50 steps), not to the bit"
)
OTHER_RUN = "promised: the same batches from here on; losses follow the changed values"


def promise(
    run: RunDir, changes: Sequence[Change], old: Plan, new: Plan, machine: Machine, *, edited: bool = False
) -> list[str]:
    """The sentence and, one a line, what it rests on."""
    differing = [*place_differences(old, new), *machine_differences(last_start(run), machine)]
    accepted = [str(change) for change in changes if change.verdict == "accept"]
    pieces = [str(change) for change in changes if change.verdict == "exact"]
    if accepted or (edited and deepspeed_changed(run)):
        return [OTHER_RUN, *accepted, *pieces, *differing]
    if pieces or differing:
        return [SAME_BATCHES, *pieces, *differing]
    return [SAME, "because ranks, threads, processor kind and versions are those of the last attempt"]


def place_differences(old: Plan, new: Plan) -> list[str]:
    """Ranks, threads and device as planned then and now."""
    rows = [
        ("ranks", old.batch.ranks, new.batch.ranks),
        ("threads a rank", old.resources.threads, new.resources.threads),
        ("device", old.resources.device, new.resources.device),
    ]
    return [f"{what}: {before} then, {after} now" for what, before, after in rows if before != after]


def last_start(run: RunDir) -> dict[str, Any]:
    """The newest `start` event; empty if the job never came so far."""
    found: dict[str, Any] = {}
    for record in run.read_events():
        if record["event"] == "start":
            found = record
    return found


def deepspeed_changed(run: RunDir) -> bool:
    """Is deepspeed.json another file than the one that the last attempt started with?"""
    start = last_start(run)
    now = hashlib.sha256(run.deepspeed.read_bytes()).hexdigest()
    return "hashes" in start and start["hashes"]["deepspeed.json"] != now


def machine_differences(start: dict[str, Any], machine: Machine) -> list[str]:
    """Processor and versions of the last attempt against this machine's, as far as its `start` event names them."""
    lines = []
    if "processor" in start and start["processor"] != machine.processor:
        lines.append(f"processor: {start['processor']} then, {machine.processor} now")
    for name, before in start["versions"].items() if "versions" in start else ():
        now = installed_version(name)
        # A local tag such as +cpu names the same version in one place and is missing in the other.
        if now is not None and now.split("+")[0] != str(before).split("+")[0]:
            lines.append(f"{name}: {before} then, {now} now")
    return lines


def installed_version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
