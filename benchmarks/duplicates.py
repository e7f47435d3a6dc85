"""Looking for exact copies among millions of lines: processor time, memory and room on the disk, and what that makes
for a corpus of 255 million documents. `python benchmarks/duplicates.py --millions 1,3,10`; the table stands in
docs/scale.md. From the second million on one line in ten is a copy of one of the first million."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LARGE = 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", default="1,3,10")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    print("| million lines | copies | seconds | processor seconds | of them a million | peak memory, MiB |")
    print("|---" * 6 + "|")
    for millions in map(int, options.millions.split(",")):
        argv = [sys.executable, __file__, "--one", str(millions)]
        found = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)
        slope = found["processor_s"] / millions
        print(
            f"| {millions} | {found['copies']:,} | {found['seconds']:.1f} | {found['processor_s']:.1f} | {slope:.2f} "
            f"| {found['peak_mib']:.0f} |",
            flush=True,
        )
    bits, records = LARGE * 1e6 / 8 / 2**20, LARGE * 1e6 * 24 / 1e9
    print(
        f"{LARGE} million at the last slope: {LARGE * slope / 60:.0f} min of one core, {records:.1f} GB of the disk, "
        f"{bits:.0f} MiB for one bit a document"
    )


def lines(count: int) -> Iterator[str]:
    for number in range(count):
        same = number % 10**6 if number % 10 == 0 else number
        yield f"line {same} of a corpus whose lines are about as long as a short sentence of running text"


def measure(millions: int) -> dict[str, float]:
    from runjob.data.duplicates import find_copies

    with tempfile.TemporaryDirectory() as place:
        began, spent = time.perf_counter(), time.process_time()
        copies = find_copies(lines(millions * 10**6), scratch=Path(place) / "scratch")
        return {
            "seconds": time.perf_counter() - began,
            "processor_s": time.process_time() - spent,
            "copies": copies.count,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


if __name__ == "__main__":
    main()
