"""One column's run as its steps, whoever made it, and the one definition of speed: what was counted in the steps after
the warm-up, over the time from the end of the last warm-up step to the end of the last step. So an interval holds whole
steps, with reading, collating, moving, optimiser and logging; it holds no start, no evaluation and no save."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Counted = Literal["tokens", "predicted"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """`time`: of the clock on the wall, when the step had ended; `tokens` that are no padding and `predicted` ones of
    this step (None where a peer can't say)."""

    number: int
    time: float
    tokens: int
    predicted: int | None
    loss: float

    def counted(self, what: Counted) -> int:
        found = self.tokens if what == "tokens" else self.predicted
        if found is None:
            raise ValueError(f"step {self.number} did not say how many tokens it predicted")
        return found


@dataclass(frozen=True, kw_only=True)
class Run:
    """`threads` that torch used, the `dtype` that was computed in and by whose `kernels`, for the table's footnotes."""

    seed: int
    steps: tuple[Step, ...]
    threads: int
    dtype: str
    kernels: str

    def rate(self, what: Counted, *, uncounted: int) -> float:
        seconds = self.steps[-1].time - self.steps[uncounted - 1].time
        return sum(step.counted(what) for step in self.steps[uncounted:]) / seconds

    def last(self, count: int) -> tuple[Step, ...]:
        return self.steps[-count:]


def read_record(path: Path, *, seed: int) -> Run:
    """What a peer left (benchmarks/peers/bench_side.py)."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    steps = tuple(Step(**step) for step in raw["steps"])
    return Run(seed=seed, steps=steps, threads=raw["threads"], dtype=raw["dtype"], kernels="torch")


def read_events(path: Path, *, seed: int) -> Run:
    """What runjob left; its `tokens` are those so far."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    start: Mapping[str, Any] = next(record for record in records if record["event"] == "start")
    steps: list[Step] = []
    before = 0
    for record in records:
        if record["event"] == "train":
            steps.append(
                Step(
                    number=record["step"],
                    time=record["time"],
                    tokens=record["tokens"] - before,
                    predicted=record["predicted"],
                    loss=record["loss"],
                )
            )
            before = record["tokens"]
    return Run(seed=seed, steps=tuple(steps), threads=start["threads"], dtype=start["dtype"], kernels=start["kernels"])
