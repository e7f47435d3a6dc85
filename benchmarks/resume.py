"""What going on at step 1,000,000 costs, beside step 10: from `runjob resume ID` to the record of the next step.

    python benchmarks/resume.py [--rounds 3] [--step 1000000]

The tiny job is stopped after ten steps, and its run directory copied. In the copy the checkpoint is given the large
step, in its name, in state.json and in its manifest, and events.jsonl the records that such a run would have (one in
ten steps): everything that a resume reads is as large as it would be. Weights and moments are those of step 10, which
cost the same to read. Then the two are resumed in turns, a step at a time.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runjob.schemas.manifest import MANIFEST, folder_name, write_manifest
from runjob.schemas.run import RunDir, list_runs, read_json, write_atomic, write_json

ROOT = Path(__file__).parent.parent
RUNJOB = str(Path(sys.executable).parent / "runjob")
EARLY = 10
SETS = ("training.length=2000000 steps", "training.log_every=1 steps", "evaluation.every=1000000000 steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "runs"
        os.environ.update(RUNJOB_HOME=str(home), RUNJOB_CACHE=str(Path(place) / "cache"))
        sets = [*SETS, "evaluation.at_start=false", "evaluation.baseline=null", f"training.stop_after={EARLY} steps"]
        run_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", sets)
        (early,) = list_runs(home)
        runs = {EARLY: early, args.step: grow_old(early, args.step)}
        times: dict[int, list[float]] = {step: [] for step in runs}
        for number in range(args.rounds + 1):
            for step, run in runs.items():
                seconds = resume_s(run, stop_after=step + number + 1)
                times[step] += [seconds] if number else []  # the first round fills the file cache
        report(runs, times)


def run_job(job: Path, sets: list[str]) -> None:
    words = [word for one in sets for word in ("--set", one)]
    done = subprocess.run([RUNJOB, str(job), *words], check=False, capture_output=True, text=True)
    assert done.returncode == 75, done.stderr


def grow_old(early: RunDir, step: int) -> RunDir:
    """A copy of the run, as if it had come so far."""
    run = RunDir(early.path.with_name(early.id[:-8] + "0" * 8))
    shutil.copytree(early.path, run.path)
    folder = run.checkpoints / folder_name(step)
    (run.checkpoints / folder_name(EARLY)).rename(folder)
    record = read_json(folder / "state.json")
    for name in ("tokens", "samples", "seconds"):
        record["state"][name] *= step / EARLY if name == "seconds" else step // EARLY
    record["state"]["step"] = record["optimizer"]["adam_step"] = step
    write_json(folder / "state.json", record)
    (folder / MANIFEST).unlink()
    write_manifest(folder, step)
    write_atomic(run.latest, folder.name + "\n")
    write_json(run.attempt(1).exit, {**read_json(run.attempt(1).exit), "step": step})
    lines = run.events.read_text(encoding="utf-8").splitlines(keepends=True)
    train = next(json.loads(line) for line in lines if json.loads(line)["event"] == "train")
    begin = [line for line in lines if json.loads(line)["step"] == 0]
    grown = [json.dumps({**train, "step": number}) + "\n" for number in range(EARLY, step + 1, EARLY)]
    run.events.write_text("".join([*begin, *grown]), encoding="utf-8")
    return run


def resume_s(run: RunDir, *, stop_after: int) -> float:
    """From the typed command to the record of the step after the checkpoint."""
    began = time.time()
    argv = [RUNJOB, "resume", run.id, "--set", f"training.stop_after={stop_after} steps"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    (record,) = [one for one in run.read_events("train") if one["step"] == stop_after]
    return float(record["time"]) - began


def report(runs: dict[int, RunDir], times: dict[int, list[float]]) -> None:
    print("| resumed at step | events.jsonl, MB | median s to the next step | least | most |\n|---|---|---|---|---|")
    for step, found in times.items():
        size = runs[step].events.stat().st_size / 1e6
        print(f"| {step:,} | {size:.1f} | {statistics.median(found):.2f} | {min(found):.2f} | {max(found):.2f} |")


if __name__ == "__main__":
    main()
