"""How much memory there will be, as far as anybody can say beforehand: what the job asks for, and what its GPUs are
known to have."""

import re
from dataclasses import dataclass

from runjob.launchers.accelerators import speeds
from runjob.runner.memory_estimate import Memory
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine
from runjob.schemas.quantities import parse_size

GIB = 2**30
# NVIDIA's drivers name memory where a GPU is sold with more than one
NAMED = re.compile(r"\b(\d+) ?GB\b")


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes of each GPU and of a machine's main memory, None where nobody knows; `gpu`: its name."""

    device: int | None
    main: int | None
    gpu: str

    def asked(self, job: Job) -> int | None:
        """What a micro batch must fit."""
        return self.device if job.hardware.device == "cuda" else self.main


def room_of(job: Job, machine: Machine) -> Room:
    gpu = machine.gpus[0] if job.hardware.device == "cuda" and machine.gpus else ""
    main = None if job.hardware.memory is None else parse_size(job.hardware.memory)
    return Room(device=gpu_bytes(gpu), main=main, gpu=gpu)


def gpu_bytes(name: str) -> int | None:
    """By its name, else as the table has it."""
    if named := NAMED.search(name):
        return int(named[1]) * GIB
    known = speeds().gpus
    return known[name].gib * GIB if name in known else None


def too_little(memory: Memory, room: Room) -> tuple[str, ...]:
    """Advice where it doesn't fit; nothing is changed by itself."""
    from runjob.runner.memory_text import gib

    said = []
    if room.device is not None and memory.device_bytes > room.device:
        has = f"and {room.gpu} has {gib(room.device)}"
        said.append(f"a GPU would need about {gib(memory.device_bytes)}, {has}; `runjob fit FILE` says what fits")
    if room.main is not None and memory.main_bytes > room.main:
        has = f"and hardware.memory is {gib(room.main)}"
        said.append(f"a machine would need about {gib(memory.main_bytes)}, {has}; `runjob fit FILE` says what fits")
    return tuple(said)
