"""How long a user waits for an answer that needs no training: `validate`, `plan`, `ps`, with few runs and with many.

    python benchmarks/answers.py [--starts 15] [--runs 10000]

Each command is started anew, in turns with the others, after one start that fills the file cache. Printed are the
medians of seconds by the clock and of the processor (the steadier ones on a machine that others use too), and the ratio
to a bare `import yaml, jsonschema`, which any program that checks YAML by JSON Schema has to pay. Ratios travel between
machines, milliseconds do not. The many runs are directories as our own writers make them: the first is at work, every
third failed, the others are finished.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runjob.launchers.base import Handle
from runjob.launchers.place import own_place
from runjob.runner.compile import compile_job
from runjob.runner.submit import write_plan
from runjob.schemas.machine import detect_machine
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, State, write_json

ROOT = Path(__file__).parent.parent
RUNJOB = str(Path(sys.executable).parent / "runjob")
ONE = "jobs/tiny/gpt2_dutch.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--runs", type=int, default=10_000)
    args = parser.parse_args()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print("PYTHONDONTWRITEBYTECODE is set: each start compiles our modules anew where nobody has")
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        began = time.perf_counter()
        ids = make_runs(home, args.runs)
        print(f"{args.runs:,} run directories made in {time.perf_counter() - began:.0f} s")
        measure(commands(ids), home, starts=args.starts)


def commands(ids: list[str]) -> dict[str, list[str]]:
    jobs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "jobs").rglob("*.yaml"))
    many = f"{len(ids):,} runs"
    return {
        "python -c 'import yaml, jsonschema'": [sys.executable, "-c", "import yaml, jsonschema"],
        "runjob --help": [RUNJOB, "--help"],
        "runjob validate, one file": [RUNJOB, "validate", ONE],
        f"runjob validate, {len(jobs)} files": [RUNJOB, "validate", *jobs],
        "runjob plan": [RUNJOB, "plan", ONE],
        f"runjob ps, {many}": [RUNJOB, "ps"],
        f"runjob ps --json, {many}": [RUNJOB, "ps", "--json"],
        f"runjob status PREFIX, {many}": [RUNJOB, "status", ids[len(ids) // 2][:-1]],
        f"runjob status latest, {many}": [RUNJOB, "status", "latest"],
    }


def make_runs(home: Path, count: int) -> list[str]:
    """What `runjob JOB.yaml` makes, without the frozen code, and what a worker and a supervisor leave; at the first is
    this process."""
    resolved = read_job(ROOT / ONE)
    plan = compile_job(resolved.job, detect_machine())
    ids = []
    for number in range(count):
        run = RunDir.create(home, "tiny")
        shutil.copyfile(ROOT / ONE, run.job_yaml)
        write_job_json(run.job, resolved)
        write_plan(run, plan)
        attempt = run.new_attempt()
        Handle(launcher="local", attempt=attempt.number, facts=own_place()).write(run)
        write_json(run.progress, {"step": number, "steps": count, "loss": 4.25, "attempt": 1, "updated": time.time()})
        state: State = "running" if number == 0 else "finished" if number % 3 else "failed"
        run.write_status(state, attempt=attempt.number, message="all steps done")
        ids.append(run.id)
    return ids


def measure(rows: dict[str, list[str]], home: Path, *, starts: int) -> None:
    """The commands take turns, so that a machine that others use too slows all of them."""
    clock: dict[str, list[float]] = {title: [] for title in rows}
    processor: dict[str, list[float]] = {title: [] for title in rows}
    for _ in range(starts + 1):
        for title, argv in rows.items():
            by_clock, by_processor = start_once(argv, home)
            clock[title].append(by_clock)
            processor[title].append(by_processor)
    floor = statistics.median(next(iter(processor.values()))[1:])
    print(f"| {starts} starts each, median ms | by the clock | least | of the processor | least | ratio |")
    print("|---|---|---|---|---|---|")
    for title in rows:
        cells = [clock[title][1:], processor[title][1:]]
        numbers = " | ".join(f"{1000 * statistics.median(cell):.0f} | {1000 * min(cell):.0f}" for cell in cells)
        print(f"| {title} | {numbers} | {statistics.median(cells[1]) / floor:.2f} |")


def start_once(argv: list[str], home: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    began = time.perf_counter()
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, "RUNJOB_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
