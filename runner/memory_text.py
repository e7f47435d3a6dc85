"""A memory estimate in words: a line a part, and what other ZeRO stages would take."""

from collections.abc import Sequence
from dataclasses import asdict

from runjob.runner.memory_estimate import Memory, Part, total
from runjob.runner.text import table

GIB = 2**30
MOMENTS = {
    "forward": "at the end of a forward pass",
    "backward": "at the beginning of a backward pass",
    "exchange": "at the end of a backward pass",
    "update": "at the optimiser's step",
}
UNKNOWN = "unknown: neither the job nor a file here says the network's sizes"


def gib(size: int) -> str:
    """
    >>> gib(123_456_789), gib(24 * 2**30)
    ('0.11 GiB', '24 GiB')
    """
    return f"{size / GIB:.3g} GiB" if size >= GIB else f"{size / GIB:.2f} GiB"


def in_short(memory: Memory | None) -> str:
    if memory is None:
        return UNKNOWN
    main = f"{gib(memory.main_bytes)} of main memory a machine"
    if not memory.device:
        return f"about {main}"
    return f"about {gib(memory.device_bytes)} of each GPU, {main}"


def parts_text(memory: Memory) -> str:
    """A line a part of one rank, at the moment that takes most."""
    lines = [*part_lines("GPU", memory.device), *part_lines("main", memory.main)]
    lines.append(["main", memory.copy.name, gib(memory.copy.bytes), memory.copy.why])
    return table(["MEMORY", "OF A RANK", "TAKES", MOMENTS[memory.moment]], lines)


def part_lines(where: str, parts: Sequence[Part]) -> list[list[str]]:
    lines = [[where, part.name, gib(part.bytes), part.why] for part in parts]
    return [*lines, [where, "in all", gib(total(parts)), ""]] if parts else []


def stages_text(stages: Sequence[Memory]) -> str:
    """A line a ZeRO stage."""
    lines = [
        [str(one.zero), gib(one.device_bytes) if one.device else "", gib(one.main_bytes), MOMENTS[one.moment]]
        for one in stages
    ]
    return table(["ZERO", "OF A GPU", "OF MAIN MEMORY", "MOST OF IT"], lines)


def memory_json(memory: Memory) -> dict[str, object]:
    """In bytes."""
    return {**asdict(memory), "device_bytes": memory.device_bytes, "main_bytes": memory.main_bytes}
