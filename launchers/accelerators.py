"""How fast a GPU computes at most, and how much memory it has: a dated table that comes with the package, like the
prices beside it. A GPU that it does not hold, or not for a precision, has no figure, and nobody guesses one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).with_name("accelerators.json")
Kind = Literal["fp32", "fp16", "bf16"]
# What the matrices of each training.precision are multiplied in (runner/deepspeed_config.py)
COMPUTED_IN: Mapping[str, Kind] = {"fp32": "fp32", "bf16": "bf16", "bf16_params": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Peak TFLOP/s by kind of number, None where the GPU has no units for it; `sheet`: which data sheet says so. `gib`
    of memory, of the smallest one that it is sold with."""

    fp32: float
    fp16: float | None
    bf16: float | None
    sheet: str
    gib: int

    def peak(self, precision: str) -> float | None:
        return {"fp32": self.fp32, "fp16": self.fp16, "bf16": self.bf16}[COMPUTED_IN[precision]]


@dataclass(frozen=True, kw_only=True)
class Speeds:
    date: str
    source: str
    gpus: Mapping[str, Speed]


@cache
def speeds() -> Speeds:
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    gpus = {name: Speed(**speed) for name, speed in raw["tflops"].items()}
    return Speeds(date=raw["date"], source=raw["source"], gpus=gpus)
