"""Kill -9 at moments drawn uniformly over the whole life of a job (preparing, building, training, exporting): a rank,
the supervisor, torchrun, the reader of a stream or everything; then `runjob resume`, and compare with an unbroken run,
record by record and weight by weight. It ends with 1 if anything differs:

    python benchmarks/kills.py JOB.yaml --trials 10 --seed 1 [--set PATH=VALUE ...]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from runjob.schemas.processes import descendants

RUNJOB = str(Path(sys.executable).parent / "runjob")
NOT_COMPARED = ("time", "attempt", "data_wait", "tokens_per_s", "samples_per_s", "memory")
READER = b"runjob.runner.worker.reader"
VICTIMS = ("a rank", "the supervisor", "torchrun", "everything")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"RUNJOB_HOME": f"{place}/runs", "RUNJOB_CACHE": f"{place}/cache"}
        begun = time.monotonic()
        straight = submit(options.job, options.sets)
        life_s = time.monotonic() - begun
        print(f"seed {options.seed}; unbroken: {life_s:.1f} s from submission to model")
        print("| killed | after s | state then | newest step | attempts | equal |\n|---|---|---|---|---|---|")
        equal = [trial(options, straight, chance, life_s, Path(place)) for _ in range(options.trials)]
    return 0 if all(equal) else 1


def trial(options: argparse.Namespace, straight: Path, chance: random.Random, life_s: float, place: Path) -> bool:
    if chance.random() < 0.3:
        for part in ("stores", "streams"):  # so that preparing takes its time again, and blocks are read again
            shutil.rmtree(place / "cache" / part, ignore_errors=True)
    victims = (*VICTIMS, "the reader") if (straight / "stream").exists() else VICTIMS
    victim, moment = chance.choice(victims), chance.uniform(0, life_s)
    run = submit(options.job, options.sets, "--detach")
    time.sleep(moment)
    kill(run, victim)
    state = settled_state(run)
    step = max((record["step"] for record in read_events(run)), default=0)
    if state != "finished":
        call("resume", run.name)
    same = records(run) == records(straight) and weights(run) == weights(straight)
    attempts = len(list((run / "attempts").iterdir()))
    print(f"| {victim} | {moment:.1f} | {state} | {step} | {attempts} | {'yes' if same else 'NO'} |", flush=True)
    return same


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill(run: Path, victim: str) -> None:
    """SIGKILL; a victim that is not there yet, or no longer, is a moment like any other."""
    if not (run / "handle.json").exists():
        return
    supervisor = json.loads((run / "handle.json").read_text(encoding="utf-8"))["pid"]
    below = [facts.pid for facts in descendants(supervisor)]
    chosen: Sequence[int] = {
        "a rank": [pid for pid in below if READER not in command_of(pid)][-1:],
        "the reader": [pid for pid in below if READER in command_of(pid)],
        "the supervisor": [supervisor],
        "torchrun": below[:1],
        "everything": [supervisor, *below],
    }[victim]
    for pid in chosen:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def settled_state(run: Path) -> str:
    while True:
        state: str = json.loads(call("status", run.name, "--json"))["state"]
        if state not in ("pending", "running", "stopping"):
            return state
        time.sleep(0.3)


def submit(job: Path, sets: list[str], *options: str) -> Path:
    said = call(str(job), *options, *(word for one in sets for word in ("--set", one)))
    return Path(os.environ["RUNJOB_HOME"], said.splitlines()[0])


def call(*arguments: str) -> str:
    done = subprocess.run([RUNJOB, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"runjob {' '.join(arguments)}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def read_events(run: Path) -> list[dict[str, object]]:
    file = run / "events.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def records(run: Path) -> list[dict[str, object]]:
    return [
        {key: value for key, value in record.items() if key not in NOT_COMPARED}
        for record in read_events(run)
        if record["event"] in ("train", "eval")
    ]


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
