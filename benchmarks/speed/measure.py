"""A row of the table: its columns run in turn, as often as asked, and what of it is said."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.speed.columns import Column, Ours, Peer, Stage
from benchmarks.speed.inputs import make_inputs
from benchmarks.speed.noise import Verdict, compare
from benchmarks.speed.runs import Run
from benchmarks.speed.workloads import WORKLOADS, Workload
from runjob.runner.computation import OPERATIONS, products
from runjob.runner.model_shape import shape_of_config
from runjob.schemas.read import read_job
from runjob.schemas.run import read_json

A = Peer(title="A", tuned=False)
B = Peer(title="B", tuned=True)
OURS = "runjob"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One column of a row. `rate`: the median of its repeats, in what the row counts, a second; `over_a` and `over_b`:
    medians of the repeats' own ratios, which a slow minute of the machine hits on both sides."""

    title: str
    rate: float
    over_a: float
    over_b: float
    operations: float
    dtype: str
    kernels: str
    threads: int
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    workload: Workload
    a: Measured
    b: Measured
    ours: tuple[Measured, ...]

    @property
    def columns(self) -> tuple[Measured, ...]:
        return (self.a, self.b, *self.ours)


def open_stage(name: str, place: Path, *, steps: int | None, threads: int | None, cuda: bool) -> Stage:
    """A row's place, its inputs made; `steps` instead of the row's own."""
    work, folder = WORKLOADS[name], place / name
    work = work if steps is None else replace(work, steps=steps)
    inputs = make_inputs(name, folder, lines=work.lines)
    return Stage(name=name, workload=work, inputs=inputs, folder=folder, cuda=cuda, threads=threads)


def measure(stage: Stage, *, columns: Sequence[Ours], repeats: int, tell: Callable[[str], None]) -> Row:
    every: tuple[Column, ...] = (A, B, *columns)
    taken = take_all(stage, every, repeats, tell)
    learns_on = stage.workload.learns_on
    if learns_on is None:
        return judge(stage, taken, taken, with_noise(stage, taken, tell))
    steps = stage.workload.steps
    beside = open_stage(learns_on, stage.folder.parent, steps=steps, threads=stage.threads, cuda=stage.cuda)
    learned = take_all(beside, every, 1, tell)
    return judge(stage, taken, learned, with_noise(beside, learned, tell))


def take_all(
    stage: Stage, columns: Sequence[Column], repeats: int, tell: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Each column's runs, in turn."""
    taken: dict[str, list[Run]] = {column.title: [] for column in columns}
    for seed in range(1, repeats + 1):
        for column in columns:
            taken[column.title].append(take(column, stage, seed, tell))
    return taken


def with_noise(stage: Stage, taken: dict[str, list[Run]], tell: Callable[[str], None]) -> list[Run]:
    """Runs of A of two seeds at least: what seeds do takes two of them."""
    reference = list(taken[A.title])
    return reference if len(reference) > 1 else [*reference, take(A, stage, 2, tell)]


def take(column: Column, stage: Stage, seed: int, tell: Callable[[str], None]) -> Run:
    run = column.run(stage, seed=seed)
    rate = run.rate(stage.workload.counted, uncounted=stage.workload.uncounted)
    tell(f"{stage.name}, seed {seed}, {column.title}: {rate:,.1f} {stage.workload.counted}/s")
    return run


def judge(stage: Stage, taken: dict[str, list[Run]], learned: dict[str, list[Run]], reference: Sequence[Run]) -> Row:
    """The table's numbers of a row, from its runs by column; losses from those that `learned`."""
    work = stage.workload

    def rates(title: str) -> list[float]:
        return [run.rate(work.counted, uncounted=work.uncounted) for run in taken[title]]

    def over(title: str, other: Peer) -> float:
        return statistics.median(mine / theirs for mine, theirs in zip(rates(title), rates(other.title), strict=True))

    def measured(title: str) -> Measured:
        runs = taken[title]
        return Measured(
            title=title,
            rate=statistics.median(rates(title)),
            over_a=over(title, A),
            over_b=over(title, B),
            operations=statistics.median(operations_a_second(stage, run) for run in runs),
            dtype=runs[0].dtype,
            kernels=runs[0].kernels,
            threads=runs[0].threads,
            verdict=compare(learned[title], reference, last=work.steps - work.uncounted),
        )

    a, b, *ours = [measured(title) for title in taken]
    return Row(name=stage.name, workload=work, a=a, b=b, ours=tuple(ours))


def operations_a_second(stage: Stage, run: Run) -> float:
    """6 N + attention for every token that is no padding (runner/computation.py), as if all rows were of the mean
    length; what a column computes for padding counts for nothing."""
    shape = shape_of_config(read_json(stage.inputs.model / "config.json"))
    assert shape is not None
    objective = read_job(stage.folder / f"{stage.name}-{run.seed}.yaml").job.objective
    counted = run.steps[stage.workload.uncounted :]
    length = sum(step.tokens for step in counted) / len(counted) / stage.workload.batch
    return OPERATIONS * products(shape, objective, length) * run.rate("tokens", uncounted=stage.workload.uncounted)
