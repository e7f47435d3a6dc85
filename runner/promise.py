"""What a resume promises, and why: bit-identical where nothing that rounds has changed, else the same batches."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from runjob.runner.changes import Change
from runjob.runner.place import Place
from runjob.schemas.machine import Machine, kernel_compiler, missing_kernel_compiler
from runjob.schemas.plan import Plan
from runjob.schemas.run import RunDir

SAME = "promised: batches, losses and weights go on bit-identical to an unbroken run"
SAME_THERE = (
    "promised: the same batches, token counts and learning rates; bit-identical to an unbroken run if processor kind "
    "and versions there are those of the last attempt, which is known when it starts"
)
SAME_BATCHES = (
    "promised: the same batches, token counts and learning rates; losses agree with an unbroken run to rounding "
    "(dropout 0, fp32: within 1e-4 relative over 50 steps), not to the bit"
)
OTHER_RUN = "promised: the same batches from here on; losses follow the changed values"


def promise(
    run: RunDir, changes: Sequence[Change], old: Plan, new: Plan, place: Place, *, edited: bool = False
) -> list[str]:
    """The sentence and, one a line, what it rests on."""
    start = last_start(run)
    differing = [*place_differences(old, new), *processor_differences(start, place.machine)]
    differing += [*version_differences(start), *kernel_differences(start)] if place.here else []
    accepted = [str(change) for change in changes if change.verdict == "accept"]
    pieces = [str(change) for change in changes if change.verdict == "exact"]
    if accepted or (edited and deepspeed_changed(run)):
        return [OTHER_RUN, *accepted, *pieces, *differing]
    if pieces or differing:
        return [SAME_BATCHES, *pieces, *differing]
    if not place.here:
        return [SAME_THERE]
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
    for record in run.read_events("start"):
        found = record
    return found


def deepspeed_changed(run: RunDir) -> bool:
    """Is deepspeed.json another file than the one that the last attempt started with?"""
    start = last_start(run)
    now = hashlib.sha256(run.deepspeed.read_bytes()).hexdigest()
    return "hashes" in start and start["hashes"]["deepspeed.json"] != now


def processor_differences(start: dict[str, Any], machine: Machine) -> list[str]:
    """The processor of the last attempt against the one of the machine to come, as far as either is known."""
    if "processor" not in start or not machine.processor or start["processor"] == machine.processor:
        return []
    return [f"processor: {start['processor']} then, {machine.processor} now"]


def version_differences(start: dict[str, Any]) -> list[str]:
    """Versions of the last attempt, as its `start` event names them, against those of this interpreter."""
    lines = []
    for name, before in start["versions"].items() if "versions" in start else ():
        now = installed_version(name)
        # A local tag such as +cpu names the same version in one place and is missing in the other.
        if now is not None and now.split("+")[0] != str(before).split("+")[0]:
            lines.append(f"{name}: {before} then, {now} now")
    return lines


def kernel_differences(start: dict[str, Any]) -> list[str]:
    """A compiler that is gone since: `training.kernels: auto` then takes torch's operations, which round otherwise."""
    if "kernels" not in start or start["kernels"] != "fused" or kernel_compiler() is not None:
        return []
    return [f"kernels: fused then; now {missing_kernel_compiler()}"]


def installed_version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
