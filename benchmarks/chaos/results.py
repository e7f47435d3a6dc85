"""What the trials showed, one JSON object a line: benchmarks/chaos/results.jsonl. Lines only add up; the table of
docs/reliability.md is made of all of them."""

import json
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`lost`: work of before the fault was gone, or the run could not go on. `differing`: it went on to other numbers
    and nobody said so. `detected`: it was named; `refused`: so that nothing began before it was mended. `seconds` from
    asking it to go on until it trained again; None where nothing had to."""

    lost: bool = False
    differing: bool = False
    detected: bool = False
    refused: bool = False
    seconds: float | None = None
    note: str = ""


# A trial of a fault by its name, and whether so many of them are enough
Named = tuple[str, Trial]
Enough = Callable[[int], bool]


def row_of(fault: str, trials: Sequence[Trial], *, seed: int, command: str) -> dict[str, Any]:
    seconds = sorted(round(trial.seconds, 1) for trial in trials if trial.seconds is not None)
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "seed": seed,
        "fault": fault,
        "trials": len(trials),
        "lost": sum(trial.lost for trial in trials),
        "differing": sum(trial.differing for trial in trials),
        "detected": sum(trial.detected for trial in trials),
        "refused": sum(trial.refused for trial in trials),
        "seconds": seconds,
        "median_s": statistics.median(seconds) if seconds else None,
        "max_s": max(seconds, default=None),
        "notes": sorted({trial.note for trial in trials if trial.note}),
        "command": command,
    }


def append(row: Mapping[str, Any], file: Path = RESULTS) -> None:
    with file.open("a", encoding="utf-8") as results:
        results.write(json.dumps(row, ensure_ascii=False) + "\n")


def shown(row: Mapping[str, Any]) -> str:
    times = "" if row["median_s"] is None else f"  {row['median_s']:.1f} s, at most {row['max_s']:.1f} s"
    bad = f"  LOST {row['lost']}" * bool(row["lost"]) + f"  DIFFERING {row['differing']}" * bool(row["differing"])
    return f"{row['fault']}: {row['trials']} trials, {row['detected']} named{times}{bad}"


def describe(trial: Trial) -> str:
    told = {key: value for key, value in asdict(trial).items() if value not in (False, None, "")}
    return ", ".join(f"{key} {value}" for key, value in told.items()) or "went on"


def commit() -> str:
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"
