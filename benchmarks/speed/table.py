"""The table as text: what was measured, beside what is asked of it."""

from collections.abc import Sequence
from datetime import date

from benchmarks.speed.machine import Facts
from benchmarks.speed.measure import Measured, Row
from benchmarks.speed.workloads import Bar

HEAD = (
    "work",
    "A",
    "B",
    "column",
    "a second",
    "over A (must, stretch)",
    "over B (must, stretch)",
    "loss at the end (A, B; A may differ by)",
    "of the bf16 rate",
)


def header() -> str:
    return f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|"


def lines_of(row: Row, facts: Facts) -> list[str]:
    """A line for each column of ours; the first names the row."""
    return [line_of(row, column, facts, named=index == 0) for index, column in enumerate(row.ours)]


def line_of(row: Row, column: Measured, facts: Facts, *, named: bool) -> str:
    work, a, b = row.workload, row.a.verdict, row.b.verdict
    losses = f"{column.verdict.loss:.3f} ({a.loss:.3f}, {b.loss:.3f}; {column.verdict.allowed:.3f})"
    cells = (
        f"{row.name}: {work.title}" if named else "",
        number(row.a.rate) if named else "",
        number(row.b.rate) if named else "",
        column.title,
        number(column.rate),
        against(column.over_a, work.over_a),
        against(column.over_b, work.over_b),
        losses + ("" if column.verdict.same else " DIFFERS"),
        f"{column.operations / facts.bf16:.1%}",
    )
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def against(ratio: float, bar: Bar) -> str:
    reached = "below" if ratio < bar.must else "must" if ratio < bar.stretch else "stretch"
    return f"{ratio:.2f} ({bar.must:g}, {bar.stretch:g}): {reached}"


def title(facts: Facts, *, on: date, repeats: int) -> str:
    return f"{on.isoformat()}: `make bench` ({facts.device}, {facts.cores} cores; medians of {repeats})"


def footnotes(facts: Facts, rows: Sequence[Row], settings: dict[str, str]) -> list[str]:
    """What each column is made of, and what its share of the machine is measured by."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    theirs = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
    notes = [
        f"{versions}. A square matrix product makes {facts.fp32 / 1e12:.3g} TFLOP/s in fp32 and "
        f"{facts.bf16 / 1e12:.3g} in bf16 with {facts.threads} threads.",
    ]
    if rows:
        a, b, ours = rows[0].a, rows[0].b, rows[0].ours[0]
        notes += [
            f"A: {a.dtype}, padded to the row's length, full head, {a.threads} threads, the allocator as it comes. "
            f"B: {b.dtype}, padded to the batch's longest, grouped by length, {b.threads} threads; {theirs}. "
            f"{ours.title}: {ours.dtype}, {ours.kernels} kernels, {ours.threads} threads; the same, by its plan.",
        ]
    return notes
