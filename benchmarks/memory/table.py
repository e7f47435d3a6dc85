"""Traces of small networks become runner/memory_kept.json: bytes of each value, by least squares over the shares that
they have in what was measured. What is nowhere two thousandths of the whole is left out, the least first."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.memory.fit import Traced
from runjob.runner.memory_activations import one_layer, price
from runjob.runner.memory_sizes import Sizes

Key = tuple[str, str, str, str]  # family, objective, mode, how
Bytes = dict[str, float]
LEAST = 0.002
# What is inside a layer alone, and not kept where it is computed again
WITHIN = ("layer inner", "layer place", "layer pairs", "layer mask", "layer apart", "layer square", "layer distances")
# What one layer needs for a moment, and the end of the backward pass
PASSING = (
    *("layer width", "layer inner", "layer pairs", "layer mask", "layer distances", "layer weights"),
    *("last width", "last inner", "last pairs", "last mask"),
    *("width", "inner", "pairs", "near", "mask", "predicted"),
    *("ordered inner", "ordered pairs", "ordered classes", "table"),
)


def fit_network(key: Key, rows: Sequence[Traced]) -> tuple[Bytes, Bytes]:
    """Kept and passing."""
    _, objective, _, how = key
    gone = WITHIN if how == "recomputed" else ()
    sizes = [{name: size for name, size in row.sizes.items() if name not in gone} for row in rows]
    kept = solve(sizes, [row.kept for row in rows], [row.kept for row in rows])
    peaks = [peak(row, objective) for row in rows]
    passing = solve(
        [at_a_time(row.sizes) for row in rows], [most - row.kept for most, row in zip(peaks, rows, strict=True)], peaks
    )
    return kept, passing


def peak(row: Traced, objective: str) -> int:
    """Elsewhere the end of the forward pass is the loss, which runner/memory_activations.py computes."""
    return max(row.backward, row.forward) if objective == "char_ar" else row.backward


def at_a_time(sizes: Sizes) -> Sizes:
    one = one_layer(sizes)
    return {name: one[name] for name in PASSING}


def solve(rows: Sequence[Sizes], values: Sequence[float], wholes: Sequence[float]) -> Bytes:
    """Errors count as shares of `wholes`."""
    names = [name for name in rows[0] if name != "whole layers" and any(row[name] for row in rows)]
    whole = np.array(wholes, dtype=float)
    wanted = np.array(values, dtype=float) / whole
    while True:
        shares = np.array([[row[name] for name in names] for row in rows], dtype=float) / whole[:, None]
        scale = shares.max(axis=0)
        found, *_ = np.linalg.lstsq(shares / scale, wanted, rcond=None)
        if found.min() > LEAST:
            return {name: round(float(one), 3) for name, one in zip(names, found / scale, strict=True)}
        del names[int(found.argmin())]


def table_of(traces: Mapping[Key, Sequence[Traced]]) -> dict[str, dict[str, dict[str, dict[str, Bytes]]]]:
    """Network -> operations -> how -> kept, passing."""
    table: dict[str, dict[str, dict[str, dict[str, Bytes]]]] = {}
    for key, rows in traces.items():
        family, objective, mode, how = key
        kept, passing = fit_network(key, rows)
        own = family.replace("_", "-")
        name = f"{own} {objective}" if objective in ("plm", "char_ar") else own
        table.setdefault(name, {}).setdefault(mode, {})[how] = {"kept": kept, "passing": passing}
    return table


def farthest(rows: Sequence[Traced], objective: str, kept: Bytes, passing: Bytes) -> tuple[float, float]:
    """Of kept, and of the peak: the largest error."""
    off = [price(row.sizes, kept) / row.kept - 1 for row in rows]
    most = [(price(row.sizes, kept) + price(at_a_time(row.sizes), passing)) / peak(row, objective) - 1 for row in rows]
    return max(off, key=abs), max(most, key=abs)
