"""`make bench`: every row, every column in turn, the table, and an exit code: 0 if all columns learn the same, 1 if one
does not or did not come to its end. Ratios below what is asked of them are marked and fail nothing: how fast a machine
is, is no defect.

    make bench                                  all rows, three repeats, into docs/journal.md
    make bench ROWS="mlm_short clm" REPEATS=1   a look
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.speed import machine, others
from benchmarks.speed.columns import Ours, Stage, runjob_settings
from benchmarks.speed.journal import entry, insert
from benchmarks.speed.machine import Facts
from benchmarks.speed.measure import OURS, Row, measure, open_stage
from benchmarks.speed.processes import BenchError
from benchmarks.speed.table import footnotes, header, lines_of, title
from benchmarks.speed.workloads import UNASKED, WORKLOADS

# Columns of runjob beside its own on a processor: the settings that each adds to the job
BESIDE = ("training.kernels=torch",)


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(dir=options.place) as made:
        place = (Path(made) if options.keep is None else options.keep).absolute()
        place.mkdir(parents=True, exist_ok=True)
        return bench(options, place)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    known = [*WORKLOADS, *others.ROWS]
    parser.add_argument("--rows", nargs="*", default=[], choices=known, metavar="ROW", help=", ".join(known))
    parser.add_argument("--repeats", type=int, default=3, help="seeds; ratios are medians over them")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="for runjob's jobs; repeatable"
    )
    parser.add_argument(
        "--beside",
        nargs="*",
        metavar="PATH=VALUE",
        help=f"one more column of runjob with each; default: {' '.join(BESIDE)} on a processor; alone: none",
    )
    parser.add_argument("--steps", type=int, help="of every run; default: the row's own")
    parser.add_argument("--threads", type=int, help="the same for all columns; default: what each takes by itself")
    parser.add_argument("--journal", type=Path, help="write the table there, newest first")
    parser.add_argument("--place", help="where runs go and are removed; default: the temporary folder")
    parser.add_argument("--keep", type=Path, help="a folder for all that is made, which stays")
    return parser.parse_args()


def bench(options: argparse.Namespace, place: Path) -> int:
    facts = machine.look(options.threads)
    table = [header()]
    print(table[0], flush=True)
    rows: list[Row] = []
    failed: list[str] = []
    settings: dict[str, str] = {}
    for name in options.rows or default_rows(facts):
        try:
            lines = others.ROWS[name](place, options.repeats) if name in others.ROWS else []
            if name in WORKLOADS:
                stage = open_stage(name, place, steps=options.steps, threads=options.threads, cuda=facts.cuda)
                beside = options.beside if options.beside is not None else () if facts.cuda else BESIDE
                rows.append(train(stage, options, beside))
                settings = runjob_settings(stage)
                lines = lines_of(rows[-1], facts)
        except BenchError as error:
            failed.append(f"{name}: {error}")
            continue
        table += lines
        print("\n".join(lines), flush=True)
    failed += failures(rows)
    notes = footnotes(facts, rows, settings) + [f"FAILED: {line}" for line in failed]
    print("\n" + "\n".join(notes))
    if options.journal is not None:
        insert(options.journal, entry(title(facts, on=date.today(), repeats=options.repeats), table, notes))
    return 1 if failed else 0


def failures(rows: Sequence[Row]) -> list[str]:
    """A line for each column of ours that learns something else than A."""
    return [
        f"{row.name}: {column.title} ends at {column.verdict.loss:.3f}, A at {column.verdict.reference:.3f}; "
        f"seeds alone are worth {column.verdict.allowed:.3f}"
        for row in rows
        for column in row.ours
        if not column.verdict.same
    ]


def default_rows(facts: Facts) -> list[str]:
    """All that this machine is asked for."""
    rows = [name for name, work in WORKLOADS.items() if name not in UNASKED and (facts.cuda or not work.needs_gpu)]
    return [*rows, *others.ROWS]


def train(stage: Stage, options: argparse.Namespace, beside: Sequence[str]) -> Row:
    sets = tuple(options.set)
    columns = [Ours(title=OURS, sets=sets)]
    columns += [Ours(title=f"{OURS}, {one}", sets=(*sets, one)) for one in beside]

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return measure(stage, columns=columns, repeats=options.repeats, tell=tell)


if __name__ == "__main__":
    sys.exit(main())
