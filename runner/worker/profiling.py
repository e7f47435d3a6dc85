"""Where the time of a step goes: the steps that `tracking.profile` names are watched operator by operator by torch's
profiler, on rank 0.

    RUN/profile/steps-10-15.json.gz   a trace for chrome://tracing or ui.perfetto.dev
    RUN/profile/steps-10-15.txt       the ten operators that took the most time themselves, and the most memory

Watching makes a step slower and changes no number. The profiler is loaded for a job that asks for it alone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.job import Profile
from runjob.schemas.run import write_atomic

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Of all watched steps: time in the operator itself, without what it called, on the processor and on the GPU, and
    the memory that it took and did not give back itself."""

    name: str
    calls: int
    cpu_ms: float
    gpu_ms: float
    bytes: int

    @property
    def own_ms(self) -> float:
        """Where the work was done: a GPU's time is its own, the processor only gave the order."""
        return self.gpu_ms if self.gpu_ms else self.cpu_ms


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What was written, and the operators that took the most time; `seconds` by the clock from the begin of the first
    step to the end of the last, with what lies between them (an evaluation, a save)."""

    first: int
    last: int
    seconds: float
    trace: Path
    table: Path
    top: tuple[Operator, ...]

    def to_event(self, run: Path) -> dict[str, Any]:
        files = {"table": str(self.table.relative_to(run)), "trace": str(self.trace.relative_to(run))}
        top = [asdict(operator) for operator in self.top]
        return {"first": self.first, "last": self.last, "seconds": self.seconds, **files, "top": top}


class Profiler:
    """`wanted` is None where nothing is watched: on all ranks but 0, and in most jobs."""

    def __init__(self, wanted: Profile | None, folder: Path, *, cuda: bool) -> None:
        self._wanted = wanted
        self._folder = folder
        self._cuda = cuda
        self._since: int | None = None
        self._began = 0.0
        self._torch: Any = None

    def before(self, step: int) -> None:
        """Begin to watch, if this is the first of the steps that this attempt comes to."""
        if self._wanted is None or self._since is not None or not self._wanted.first <= step <= self._wanted.last:
            return
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        self._torch = profile(activities=activities, profile_memory=True)
        self._torch.start()
        self._since, self._began = step, time.perf_counter()

    def after(self, step: int) -> Profiled | None:
        """What was found, if this was the last of them."""
        return self.end(step) if self._wanted is not None and step == self._wanted.last else None

    def end(self, step: int) -> Profiled | None:
        """The same where the loop ends before that."""
        first, self._since = self._since, None
        if first is None or step < first:
            return None
        seconds = time.perf_counter() - self._began
        self._torch.stop()
        operators = operators_of(self._torch.key_averages())
        name = f"steps-{first}-{step}"
        self._folder.mkdir(exist_ok=True)
        trace, table = self._folder / f"{name}.json.gz", self._folder / f"{name}.txt"
        beside = self._folder / f".{name}.tmp.json.gz"  # the suffix tells torch to compress
        self._torch.export_chrome_trace(str(beside))
        beside.replace(trace)
        write_atomic(table, table_text(operators, first=first, last=step, seconds=seconds))
        self._torch = None
        top = most(operators, by_time)
        return Profiled(first=first, last=step, seconds=seconds, trace=trace, table=table, top=top)


def operators_of(averages: Any) -> list[Operator]:  # noqa: ANN401 - torch's own list, untyped
    """The operators alone: a kernel's time is its operator's already."""
    return [
        Operator(
            name=one.key,
            calls=one.count,
            cpu_ms=one.self_cpu_time_total / 1000,
            gpu_ms=one.self_device_time_total / 1000,
            bytes=one.self_cpu_memory_usage + one.self_device_memory_usage,
        )
        for one in averages
        if one.device_type.name == "CPU"
    ]


def by_time(operator: Operator) -> float:
    return operator.own_ms


def by_memory(operator: Operator) -> float:
    return operator.bytes


def most(operators: Sequence[Operator], key: Callable[[Operator], float]) -> tuple[Operator, ...]:
    return tuple(sorted(operators, key=key, reverse=True)[:SHOWN])


def table_text(operators: Sequence[Operator], *, first: int, last: int, seconds: float) -> str:
    """Both top tens; shares are of what all operators took.

    >>> mm = Operator(name="aten::mm", calls=4, cpu_ms=30.0, gpu_ms=0.0, bytes=2_000_000)
    >>> add = Operator(name="aten::add", calls=8, cpu_ms=10.0, gpu_ms=0.0, bytes=-500)
    >>> print(table_text([add, mm], first=10, last=11, seconds=0.05))
    Steps 10 to 11 of rank 0: 0.050 s, of which all operators took 0.040 s. Watching slows both.
    <BLANKLINE>
        own ms   share     calls  operator
          30.0  75.0 %         4  aten::mm
          10.0  25.0 %         8  aten::add
    <BLANKLINE>
        own MB             calls  operator
           2.0                 4  aten::mm
    <BLANKLINE>
    """
    total = sum(map(by_time, operators))
    said = f"Steps {first} to {last} of rank 0: {seconds:.3f} s, of which all operators took {total / 1000:.3f} s."
    timed = [
        f"{one.own_ms:>10,.1f}{100 * one.own_ms / (total or 1.0):>6.1f} %{one.calls:>10,}  {one.name}"
        for one in most(operators, by_time)
    ]
    taken = [
        f"{one.bytes / 1e6:>10,.1f}{'':>8}{one.calls:>10,}  {one.name}"
        for one in most(operators, by_memory)
        if one.bytes > 0
    ]
    lines = [f"{said} Watching slows both.", "", f"{'own ms':>10}{'share':>8}{'calls':>10}  operator", *timed]
    lines += ["", f"{'own MB':>10}{'':>8}{'calls':>10}  operator", *taken]
    return "\n".join(lines) + "\n"
