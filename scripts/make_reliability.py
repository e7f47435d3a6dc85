"""Write the two tables of docs/reliability.md from benchmarks/chaos/results.jsonl: what was broken, how often, and what
came of it. Run it after `make chaos`; a test holds the committed page equal to what it writes."""

import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "chaos" / "results.jsonl"
TARGET = ROOT / "docs" / "reliability.md"
DAMAGE = "damage: "
Rows = list[Mapping[str, Any]]


def main() -> int:
    page = TARGET.read_text(encoding="utf-8")
    TARGET.write_text(filled(page, read_results()), encoding="utf-8")
    return 0


def read_results(file: Path = RESULTS) -> Rows:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def filled(page: str, rows: Rows) -> str:
    """The page with its tables made anew, each between two comments that name it."""
    for name, text in {"faults": faults_table(rows), "damage": damage_table(rows), "total": total(rows)}.items():
        mark = re.compile(f"(<!-- {name}, by scripts/make_reliability.py -->\n).*?(<!-- end -->)", re.DOTALL)
        page = mark.sub(lambda found, text=text: f"{found[1]}{text}{found[2]}", page)
    return page


def by_fault(rows: Iterable[Mapping[str, Any]]) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for row in rows:
        found[row["fault"]].append(row)
    return dict(sorted(found.items()))


def faults_table(rows: Rows) -> str:
    lines = [
        "| fault | trials | lost | differing | named | s to recover: median | most | again with |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fault, group in by_fault(row for row in rows if not row["fault"].startswith(DAMAGE)).items():
        seconds = [one for row in group for one in row["seconds"]]
        times = (f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("-", "-")
        counts = [str(sums(group, name)) for name in ("trials", "lost", "differing", "detected")]
        lines.append(f"| {' | '.join([fault, *counts, *times])} | `{group[-1]['command']}` |")
    return "\n".join([*lines, ""])


def damage_table(rows: Rows) -> str:
    lines = [
        "| file | trials | refused, with the way on | named, and done without | no harm |",
        "|---|---|---|---|---|",
    ]
    for fault, group in by_fault(row for row in rows if row["fault"].startswith(DAMAGE)).items():
        trials, named, refused = (sums(group, name) for name in ("trials", "detected", "refused"))
        bad = sums(group, "lost") + sums(group, "differing")
        counts = [trials, refused, named - refused, trials - named - bad]
        shown = [str(count or "") for count in counts] if not bad else [str(trials), "", "", f"**{bad} bad**"]
        lines.append(f"| `{fault.removeprefix(DAMAGE)}` | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def total(rows: Rows) -> str:
    """One sentence of all kills."""
    kills = [row for row in rows if row["fault"].startswith("kill of")]
    dates = sorted({row["date"] for row in rows})
    count, lost, differing = (sums(kills, name) for name in ("trials", "lost", "differing"))
    counted = f"**{count} kills so far, {lost} lost, {differing} that went on otherwise**"
    return f"{counted}; {sums(rows, 'trials')} trials of all faults, {dates[0]} to {dates[-1]}.\n"


def sums(rows: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
