"""The curves of a report: what was measured over steps, tokens and working time, thinned so that a page of a million
steps opens like one of a hundred.

Thinning keeps the first and the last, and of each stretch the lowest and the highest value: a spike of one step is
still seen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runjob.runner.history import COMMON, History, Record
from runjob.schemas.direction import best_of

# What a screen can show
MOST_POINTS = 2000
# Of a stretch: its ends, its extremes, and one that is no number
OF_A_STRETCH = 5
# Digits that a plot or its table needs; the records have them all
DIGITS = 7
MEBIBYTE = 1024 * 1024

# Of the train records: field -> title, unit, and what a unit is worth
TRAINING = (
    ("loss", "Training loss", "nats a token", 1.0),
    ("learning_rate", "Learning rate", "", 1.0),
    ("grad_norm", "Gradient norm", "before clipping", 1.0),
    ("tokens_per_s", "Throughput", "tokens a second", 1.0),
    ("memory", "Peak memory", "MiB of rank 0, in its attempt so far", 1.0 / MEBIBYTE),
)
# Evaluation metrics come behind the training loss
BEHIND = "loss"
UNITS = {"loss": "nats a token", "bits_per_byte": "bits a byte", "masked_bits_per_byte": "bits a hidden byte"}


@dataclass(frozen=True, kw_only=True)
class Points:
    """One run's part of a curve. `total`: how many were recorded; `best`: the index of the best, where it is known
    which way is better and somebody may ask for it."""

    run: int
    step: tuple[int, ...]
    tokens: tuple[int | None, ...]
    seconds: tuple[float, ...]
    value: tuple[float | None, ...]
    total: int
    best: int | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """`sparse` curves show each point as a mark."""

    key: str
    title: str
    unit: str
    sparse: bool
    points: tuple[Points, ...]


def curves_of(histories: Sequence[History]) -> list[Curve]:
    """All that the runs have values for; a run without any is left out of a curve."""
    found = []
    for field, title, unit, worth in TRAINING:
        found.append(_curve(f"train/{field}", title, unit, histories, lambda one: one.train, field, worth))
        if field == BEHIND:
            found += [_evaluation(metric, histories) for metric in _metrics(histories)]
    return [curve for curve in found if curve.points]


def _metrics(histories: Sequence[History]) -> list[str]:
    return list(
        dict.fromkeys(
            name
            for history in histories
            for record in history.evals
            for name, value in record.items()
            if name not in COMMON and isinstance(value, int | float)
        )
    )


def _evaluation(metric: str, histories: Sequence[History]) -> Curve:
    title = f"Evaluation: {metric.replace('_', ' ')}"
    unit = UNITS.get(metric, "")
    return _curve(f"eval/{metric}", title, unit, histories, lambda one: one.evals, metric, 1.0)


def _curve(
    key: str,
    title: str,
    unit: str,
    histories: Sequence[History],
    records: Callable[[History], Sequence[Record]],
    field: str,
    worth: float,
) -> Curve:
    sparse = key.startswith("eval/")
    points = [
        _points(run, history, having, field, worth, best=sparse)
        for run, history in enumerate(histories)
        if (having := [record for record in records(history) if isinstance(record.get(field), int | float)])
    ]
    return Curve(key=key, title=title, unit=unit, sparse=sparse, points=tuple(points))


def _points(run: int, history: History, records: Sequence[Record], field: str, worth: float, *, best: bool) -> Points:
    values = [float(record[field]) * worth for record in records]
    kept = thin(values, most=MOST_POINTS)
    shown = [records[index] for index in kept]
    value = tuple(_rounded(values[index]) for index in kept)
    return Points(
        run=run,
        step=tuple(int(record["step"]) for record in shown),
        tokens=tuple(history.tokens_at(record) for record in shown),
        seconds=tuple(round(history.working_seconds(record), 3) for record in shown),
        value=value,
        total=len(records),
        best=_best_place(shown, value, field) if best else None,
    )


def _rounded(value: float) -> float | None:
    """NaN and infinities leave a gap."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _best_place(records: Sequence[Record], values: Sequence[float | None], metric: str) -> int | None:
    """Untrained weights are never the best."""
    trained = [value for record, value in zip(records, values, strict=True) if record["step"] > 0]
    best = best_of(trained, metric)
    return None if best is None else values.index(best, len(values) - len(trained))


def thin(values: Sequence[float], *, most: int) -> list[int]:
    """Places of at most so many values: all of few, else the ends and the extremes of each stretch.

    >>> thin([5, 1, 1, 9, 1, 1, 1, 1, 0, 1, 1, 1], most=10)
    [0, 1, 3, 5, 6, 8, 11]
    """
    count = len(values)
    if count <= most:
        return list(range(count))
    stretches = most // OF_A_STRETCH
    kept: set[int] = set()
    for number in range(stretches):
        places = range(number * count // stretches, (number + 1) * count // stretches)
        ordered = [place for place in places if math.isfinite(values[place])]
        kept |= {places[0], places[-1]}
        if ordered:
            kept |= {min(ordered, key=values.__getitem__), max(ordered, key=values.__getitem__)}
        if len(ordered) < len(places):
            kept.add(next(place for place in places if not math.isfinite(values[place])))
    return sorted(kept)


def in_one_sentence(curve: Curve, names: Sequence[str]) -> str:
    """What a curve shows, for who can't see it."""
    return f"{curve.title}. " + " ".join(_course(points, names[points.run]) for points in curve.points)


def _course(points: Points, name: str) -> str:
    there = [(value, step) for value, step in zip(points.value, points.step, strict=True) if value is not None]
    if not there:
        return f"{name}: no value that is a number."
    (first, begin), (last, end) = there[0], there[-1]
    low, high = min(there), max(there)
    return (
        f"{name}: from {first:g} at step {begin} to {last:g} at step {end}, "
        f"lowest {low[0]:g} at step {low[1]}, highest {high[0]:g} at step {high[1]}."
    )


def to_json(curve: Curve) -> dict[str, Any]:
    return {**vars(curve), "points": [vars(one) for one in curve.points]}
