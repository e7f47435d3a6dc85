"""The memory estimate, calibrated and scored (docs/memory.md). Both take one core and no GPU; how busy the machine is
changes nothing.

    python -m benchmarks.memory fit     # traces of small networks -> runner/memory_kept.json
    python -m benchmarks.memory score   # whole steps beside what the estimate says of them
"""

import argparse
import dataclasses
import datetime
import json
import statistics
import tempfile
import warnings
from pathlib import Path

import torch
import transformers

from benchmarks.memory.fit import HOWS, MODES, NETWORKS, Traced, fitting_cases, trace
from benchmarks.memory.step import Scored, score, scoring_cases
from benchmarks.memory.table import Key, farthest, fit_network, table_of
from runjob.runner.memory_activations import TABLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fit", "score"))
    parser.add_argument("--traces", type=Path, help="fit: keep traces in this file, and go on from there")
    parser.add_argument("--cases", type=int, default=60, help="score: so many steps")
    given = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    if given.what == "fit":
        fit(given.traces)
    else:
        print_scores(given.cases)


def fit(file: Path | None) -> None:
    traces = read(file)
    with tempfile.TemporaryDirectory() as folder:
        for mode in MODES:
            for family, objective in NETWORKS:
                for how in HOWS:
                    key = (family, objective, mode, how)
                    # transformers can't compute MPNet's layers twice; objective plm has its own way
                    if key in traces or (family, objective, how) == ("mpnet", "mlm", "recomputed"):
                        continue
                    traces[key] = [trace(case, Path(folder)) for case in fitting_cases(*key)]
                    keep(file, key, traces[key])
    for key, rows in traces.items():
        kept, most = farthest(rows, key[1], *fit_network(key, rows))
        print(f"{', '.join(key)}: kept within {abs(kept):.1%}, peak within {abs(most):.1%}")
    written = {
        "date": datetime.date.today().isoformat(),
        "command": "python -m benchmarks.memory fit",
        "versions": {"torch": torch.__version__.partition("+")[0], "transformers": transformers.__version__},
        "bytes": table_of(traces),
    }
    TABLE.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def read(file: Path | None) -> dict[Key, list[Traced]]:
    if file is None or not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {tuple(line["key"]): [Traced(**row) for row in line["rows"]] for line in lines}


def keep(file: Path | None, key: Key, rows: list[Traced]) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps({"key": key, "rows": [dataclasses.asdict(row) for row in rows]}) + "\n")


def print_scores(number: int) -> None:
    """A table, a line a step as it ends, and what all of them say."""
    print("| network | operations | sizes | ZeRO | measured | estimated | error |\n|---|---|---|---|---|---|---|")
    errors = []
    for case in scoring_cases(number):
        step = score(case)
        errors.append(step.error)
        print(line(step), flush=True)
    print(
        f"\n{number} steps: median error {statistics.median(map(abs, errors)):.1%}, "
        f"from {min(errors):+.1%} to {max(errors):+.1%}"
    )


def line(step: Scored) -> str:
    case = step.case
    more = [name for name in ("checkpointing", "masked", "apart") if getattr(case, name)]
    sizes = f"{case.layers} x {case.width}, {case.rows} x {case.length}, {case.classes} classes"
    name = " ".join([f"{case.family} {case.objective}", *more])
    return (
        f"| {name} | {case.mode} | {sizes} x{case.accumulation} | {step.zero} | {step.measured / 1e6:.1f} MB | "
        f"{step.estimated / 1e6:.1f} MB | {step.error:+.1%} |"
    )


if __name__ == "__main__":
    main()
