"""Broken and hostile job files by the hundred thousand, read as `runjob validate` reads them and, where they are valid,
planned. Found wanting: a traceback, more than a second of processor time, more than 300 MB of memory, a problem without
line and column, a message of more than one line or without end, anything that a file made happen.

    python -m benchmarks.fuzz --files 100000 --seed 1 --figures figures.json

Pieces of 300 files run in a process each, which dies with its findings; pieces that the figures hold are not run again.
`--show N` prints file N of that seed. It ends with 1 if anything was found.
"""

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fuzz_files import PIECE, make_piece
from runjob.runner.compile import compile_job
from runjob.schemas.errors import RunjobError
from runjob.schemas.machine import Machine
from runjob.schemas.read import JobFileError, read_job
from runjob.schemas.run import write_json

SLOW_S = 1.0
MEMORY_MB = 300
# A process that hangs (seconds of its own: the machine may be busy) ends with the traceback of where it does; one that
# fills the memory ends itself
HANGS_S = 30
ROOM_BYTES = 4 * 2**30
LONGEST_MESSAGE = 1000
MACHINE = Machine(cores=2, gpus=(), processor="Some CPU")
NAME = "job.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="the first file's number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", type=Path, help="what each piece gave, to go on from there")
    parser.add_argument("--show", type=int, metavar="N", help="print this file")
    parser.add_argument("--piece", type=int, help="this piece alone, and what it gave as JSON")
    options = parser.parse_args()
    if options.show is not None:
        sys.stdout.buffer.write(make_file(options.seed, options.show))
        return 0
    if options.piece is not None:
        print(json.dumps(run_piece(options.seed, options.piece)))
        return 0
    return run_all(options)


def make_file(seed: int, number: int) -> bytes:
    piece, index = divmod(number, PIECE)
    *_, (_, raw) = make_piece(seed, piece, index + 1)
    return raw


def run_all(options: argparse.Namespace) -> int:
    held = json.loads(options.figures.read_text()) if options.figures and options.figures.exists() else {}
    for piece in range(options.start // PIECE, -(-(options.start + options.files) // PIECE)):
        key = f"{options.seed}:{piece}"
        if key not in held:
            held[key] = in_a_process(options.seed, piece)
            if options.figures:
                write_json(options.figures, held)
    print(table(options.seed, held))
    return 1 if any(one["found"] for one in held.values()) else 0


def in_a_process(seed: int, piece: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.fuzz", "--seed", str(seed), "--piece", str(piece)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    said = f"seed {seed}, piece {piece} ended with {done.returncode}: {done.stderr[-2000:]}"
    return {"counts": {}, "problems": 0, "slowest_s": 0.0, "memory_mb": 0, "found": [said]}


def run_piece(seed: int, piece: int) -> dict[str, Any]:
    faulthandler.register(signal.SIGPROF, chain=True)
    resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))
    counts: Counter[str] = Counter()
    found, problems, slowest, memory = [], 0, 0.0, 0
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"XDG_CONFIG_HOME": place, "RUNJOB_CACHE": f"{place}/cache"}
        os.chdir(place)
        for index, (kind, raw) in enumerate(make_piece(seed, piece)):
            Path(NAME).write_bytes(raw)
            signal.setitimer(signal.ITIMER_PROF, HANGS_S)
            outcome, said, count, took_s = judge(Path(NAME))
            signal.setitimer(signal.ITIMER_PROF, 0)
            counts[f"{kind}: {outcome}"] += 1
            problems, slowest = problems + count, max(slowest, took_s)
            now = peak_mb()
            if now > max(memory, MEMORY_MB):
                said.append(f"{now} MB of memory")
            memory = max(memory, now)
            if took_s > SLOW_S:
                said.append(f"{took_s:.2f} s")
            if made := [one.name for one in Path().iterdir() if one.name != NAME]:
                said.append(f"made {made}")
            found += [f"file {piece * PIECE + index} ({kind}): {one}" for one in said]
    return {"counts": counts, "problems": problems, "slowest_s": slowest, "memory_mb": memory, "found": found}


def peak_mb() -> int:
    """Of this program: what `getrusage` says begins with the size of whoever forked it, before it became this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def judge(path: Path) -> tuple[str, list[str], int, float]:
    """What became of a file, what is wrong with that, how many problems it has, and seconds of processor time."""
    began = time.process_time()
    found: list[str] = []
    count = 0
    try:
        resolved = read_job(path)
        outcome = "valid"
        compile_job(resolved.job, MACHINE)
    except JobFileError as error:
        outcome, count = "refused", len(error.problems)
        found = [f"{said!r}: no place" for said in error.problems if said.line < 1 or said.column < 1]
        found += [f"{str(said)[:80]!r}: not one line" for said in error.problems if not str(said).isprintable()]
        found += [f"{str(said)[:80]!r}: endless" for said in error.problems if len(str(said)) > LONGEST_MESSAGE]
    except RunjobError as error:
        outcome = "valid, no plan here"
        found = [f"{str(error)[:80]!r}: endless"] if len(str(error)) > LONGEST_MESSAGE else []
    except Exception as error:  # which is what this program looks for
        outcome, found = "a traceback", [repr(error)[:500]]
    return outcome, found[:5], count, time.process_time() - began


def table(seed: int, held: dict[str, Any]) -> str:
    counts: Counter[str] = Counter()
    for one in held.values():
        counts.update(one["counts"])
    found = [said for one in held.values() for said in one["found"]]
    lines = [f"seed {seed}, {sum(counts.values()):,} files", "", "| files | outcome | number |", "|---|---|---|"]
    for name, number in sorted(counts.items()):
        kind, _, outcome = name.partition(": ")
        lines.append(f"| {kind} | {outcome} | {number:,} |")
    slowest, memory = max(one["slowest_s"] for one in held.values()), max(one["memory_mb"] for one in held.values())
    problems = sum(one["problems"] for one in held.values())
    lines += ["", f"{problems:,} problems named, each with file, line and column; slowest file {slowest:.2f} s of"]
    lines += [
        f"processor time; peak memory {memory} MB, the making of the files included; {len(found)} findings",
        *found,
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
