"""What it costs to begin at a position of training: a store of 10 billion tokens that takes no room on the disk (its
file is a hole), and the first global batch of 32 rows of 8 tokens from positions 10 to 10^9 on, each by a newly opened
stream. `python benchmarks/seek.py [--tokens N]`; the table stands in docs/scale.md."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.rows import PackedRows
from runjob.data.store import SectionSummary, Side, SideSummary
from runjob.data.stream import TrainStream

ROW = 8
BATCH = 32
TRIALS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=10**10)
    tokens = parser.parse_args().tokens
    with tempfile.TemporaryDirectory() as place:
        side = hollow_side(Path(place), tokens)
        print(f"{len(PackedRows(side, ROW)):,} rows\n| from position | best of {TRIALS}, ms |\n|---|---|")
        positions = [10**power for power in range(1, 10)]
        for position, seconds in zip(positions, seek_s(side, positions), strict=True):
            print(f"| {position:,} | {1000 * seconds:.2f} |")


def hollow_side(place: Path, tokens: int) -> Side:
    """A side of one document of zeros."""
    with (place / "tokens.bin").open("wb") as file:
        file.truncate(tokens)
    np.save(place / "offsets.npy", np.array([1, tokens], dtype="<i8"))
    section = SectionSummary(documents=1, predicted=tokens - 1, bytes=tokens, words=1)
    return Side(place, summary=SideSummary.of(section), token_type="uint8")


def seek_s(side: Side, positions: list[int]) -> list[float]:
    """The positions take turns, so that a machine that others use too slows all of them."""
    best = [float("inf")] * len(positions)
    for _ in range(TRIALS):
        for number, position in enumerate(positions):
            best[number] = min(best[number], first_batch_s(side, position))
    return best


def first_batch_s(side: Side, position: int) -> float:
    began = time.perf_counter()
    rows = PackedRows(side, ROW)
    limit = Limit(rows=BATCH, tokens=None)
    stream = TrainStream(rows, Order(len(rows), seed=1), global_batch=BATCH, limit=limit, rank=0, ranks=1, ahead=0)
    stream.step(1 + position // BATCH)
    seconds = time.perf_counter() - began
    stream.close()
    return seconds


if __name__ == "__main__":
    main()
