"""The words for how a run can end, and what each says. docs/why.md shows this table."""

from dataclasses import dataclass
from typing import Literal

Class = Literal[
    "memory",
    "numerics",
    "data",
    "configuration",
    "checkpoint",
    "disk",
    "network",
    "time limit",
    "import",
    "hung",
    "killed",
    "crashed",
    "lost",
    "preempted",
    "paused",
    "cancelled",
    "unreachable",
    "unknown",
]

MEANINGS: dict[Class, str] = {
    "memory": "the memory of the machine or of a GPU was not enough",
    "numerics": "NaN or Inf in the loss, the gradients or the weights",
    "data": "the data are not what the job says",
    "configuration": "the job asks for something that is not here, or for things that don't go together",
    "checkpoint": "a checkpoint is damaged, does not belong to this job, or can't be written",
    "disk": "no room is left on a disk, or it can't be written or read",
    "network": "a service or a host did not answer",
    "time limit": "the time that its place allows was over",
    "import": "a Python module or a program is missing or can't be loaded",
    "hung": "no step came for far longer than steps take",
    "killed": "a signal from outside ended a process of it",
    "crashed": "native code broke: a process ended itself by a signal such as SIGSEGV",
    "lost": "whoever stood over it, or its machine, went away without a word",
    "preempted": "it was asked to make way, and goes on when it is resumed",
    "paused": "it came to its training.stop_after",
    "cancelled": "somebody cancelled it",
    "unreachable": "its place does not answer; most likely it goes on",
    "unknown": "nothing certain is known; the last lines say what there is",
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`source` is a file of the run directory and what stands there, or whoever else was asked; `says` what it says."""

    source: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    kind: Class
    evidence: tuple[Evidence, ...]
