"""`make chaos`: break things for real, and see that nothing is lost. Bounded by --minutes; what it found is appended to
benchmarks/chaos/results.jsonl, where the lines of many calls add up, and it ends with 1 if anything was lost or
differed. What it was about is left in --place then, else removed.

    make chaos                                       every fault, ten minutes each
    make chaos ONLY=kills MINUTES=480 SEED=7         a quiet night's work
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos import damage, elastic, kills, machine, together
from benchmarks.chaos.jobs import References
from benchmarks.chaos.place import ChaosError, Place
from benchmarks.chaos.results import RESULTS, Enough, Trial, append, describe, row_of, shown

FAULTS = {
    "kills": kills.trials,
    "damage": damage.trials,
    "together": together.trials,
    "machine": machine.trials,
    "elastic": elastic.trials,
}


def main() -> int:
    options = read_options()
    print(f"seed {options.seed}", flush=True)
    place = Place(path=Path(tempfile.mkdtemp(prefix="runjob-chaos-", dir=options.place)))
    references = References(place)
    bad = sum(break_by(name, place, references, options) for name in options.only or FAULTS)
    if bad:
        print(f"what is left of it lies under {place.path}", file=sys.stderr)
        return 1
    shutil.rmtree(place.path)
    return 0


def break_by(name: str, place: Place, references: References, options: argparse.Namespace) -> int:
    """All trials of one fault, each said as it comes; how many of them were bad."""
    grouped: dict[str, list[Trial]] = defaultdict(list)
    chance, failed = random.Random(f"{name} {options.seed}"), 0
    try:
        for fault, trial in FAULTS[name](place, references, chance, until(options)):
            grouped[fault].append(trial)
            print(f"  {fault}: {describe(trial)}", flush=True)
    except ChaosError as error:
        print(f"{name}: {error}", file=sys.stderr)
        failed = 1
    finally:
        for fault, trials in sorted(grouped.items()):
            row = row_of(fault, trials, seed=options.seed, command=f"make chaos ONLY={name} SEED={options.seed}")
            append(row, options.results)
            print(shown(row), flush=True)
            failed += row["lost"] + row["differing"]
    return failed


def until(options: argparse.Namespace) -> Callable[[int], bool]:
    """So many trials, or so many minutes from now: whichever is less."""
    end = time.monotonic() + 60 * options.minutes
    enough: Enough = lambda done: time.monotonic() > end or (options.trials is not None and done >= options.trials)  # noqa: E731
    return enough


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], choices=list(FAULTS), metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--trials", type=int, help="of each fault at most; default: as many as there is time for")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each fault; a trial that has begun ends")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: another one each time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where lines are appended")
    parser.add_argument("--place", type=Path, help="where all of it happens; default: the temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
