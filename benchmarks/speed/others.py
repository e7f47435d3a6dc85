"""Rows that train nothing: `prepare` and `generate`, measured by what is there for it (benchmarks/prepare.py, and
`runjob generate --benchmark`)."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.speed.columns import RUNJOB
from benchmarks.speed.inputs import make_inputs
from benchmarks.speed.processes import execute
from benchmarks.speed.table import against, number
from benchmarks.speed.workloads import Bar

SCRIPT = Path(__file__).parent.parent / "prepare.py"
MEGABYTES = 20
OVER_SEED, OF_RAW = Bar(must=3, stretch=3.4), Bar(must=0.8, stretch=0.9)
OVER_DEFAULT = Bar(must=2, stretch=2)


def prepare(place: Path, repeats: int) -> list[str]:
    """Seconds of each way at its best, as benchmarks/prepare.py takes them."""
    record = place / "prepare.json"
    argv = [sys.executable, str(SCRIPT), "--megabytes", "", "--rounds", str(repeats), "--compared", str(MEGABYTES)]
    execute([*argv, "--place", str(place), "--record", str(record)], os.environ, place)
    ways: Mapping[str, Mapping[str, float]] = json.loads(record.read_text(encoding="utf-8"))
    ours, raw = ways["prepare"], min((ways[name] for name in ways if name.startswith("raw")), key=_seconds)
    seed = ways["datasets.map, then group, 8 processes"]
    rates = [way["tokens"] / way["seconds"] for way in (seed, raw, ours)]
    cells = (
        f"prepare: {MEGABYTES} MB of text (A: datasets.map as the seed; B: raw `encode_batch_fast`, all cores)",
        *(number(rate) for rate in rates[:2]),
        "runjob",
        number(rates[2]),
        against(seed["seconds"] / ours["seconds"], OVER_SEED),
        against(raw["seconds"] / ours["seconds"], OF_RAW),
        "",
        "",
    )
    return [f"| {' | '.join(cells)} |"]


def generate(place: Path, repeats: int) -> list[str]:
    """`runjob generate --benchmark` of the network of row `clm` before it has learnt anything: it repeats by itself."""
    model = make_inputs("clm", place / "clm", lines=None).model
    said = execute([str(RUNJOB), "generate", str(model), "--benchmark", "--json"], os.environ, place)
    return [_generated(speed) for speed in json.loads(said.splitlines()[-1])]


def _generated(speed: Mapping[str, float]) -> str:
    cells = (
        f"generate: GPT-2 30 M, batch {speed['batch']:.0f} (A: `model.generate` with its defaults)",
        number(speed["transformers_decode"]),
        "",
        "runjob",
        number(speed["decode"]),
        against(speed["decode"] / speed["transformers_decode"], OVER_DEFAULT),
        "",
        "",
        "",
    )
    return f"| {' | '.join(cells)} |"


def _seconds(way: Mapping[str, float]) -> float:
    return way["seconds"]


ROWS: Mapping[str, Callable[[Path, int], list[str]]] = {"prepare": prepare, "generate": generate}
