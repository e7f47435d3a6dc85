"""How many labels a side of a store has, as store.json says it; without numpy, for the control side reads that too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LabelsSummary:
    """How many tokens have each label, by its number; `spans` beside the text, and how many of them no tokens say."""

    counts: tuple[int, ...]
    spans: int
    unmet: int


def read_labels(raw: Mapping[str, Any]) -> LabelsSummary:
    return LabelsSummary(**{**raw, "counts": tuple(raw["counts"])})
