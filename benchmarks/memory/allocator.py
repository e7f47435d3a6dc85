"""Bytes of tensors that live in main memory while something runs, as torch's own allocator counts them: outputs, what
autograd keeps, and what a kernel takes for a moment, each allocation with its size. Memory is no matter of speed: the
same operations ask for the same bytes on any machine, however busy."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

# Sizes that nothing else asks for: an allocation of one of them says where in time we are
MARK_BYTES = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Between two marks: bytes alive at the first, the most there were, and bytes alive at the second."""

    before: int
    peak: int
    after: int


def mark() -> None:
    """Say to `watch` that one part ends here and the next begins."""
    torch.empty(MARK_BYTES, dtype=torch.uint8)


def watch(run: Callable[[], None]) -> list[Watched]:
    """What `run` takes, in the parts between its calls of `mark`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as seen:
        run()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    waiting = list(seen.profiler.kineto_results.experimental_event_tree())
    changes = []
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        kind, fields = event.typed
        if kind == _EventType.Allocation:
            changes.append((event.start_time_ns, fields.alloc_size, fields.total_allocated))
    parts: list[list[int]] = [[0]]
    for _, size, total in sorted(changes, key=lambda change: change[0]):
        if size == MARK_BYTES:
            parts.append([total - MARK_BYTES])
        elif size != -MARK_BYTES:
            parts[-1].append(total)
    return [Watched(before=part[0], peak=max(part), after=part[-1]) for part in parts]
