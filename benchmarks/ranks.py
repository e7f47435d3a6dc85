"""One rank with two threads beside two ranks with one, on two cores, by ZeRO stage and with the same global batch: how
many tokens a second, and what share of a step goes into talking.

    python benchmarks/ranks.py [--rounds 3] [--steps 40]

Each row is a job of its own through `runjob`, row after row, round after round. Tokens a second are the median over the
steps of a round behind the first ten, of which the best and the range are printed. Steps 11 to 15 are watched
(`tracking.profile`), and are not among them: the share is what rank 0 spends inside collectives there, waiting for the
other rank included, by the clock.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

JOB = """
schema: 1
name: ranks
data:
  kind: text
  path: sample:dutch
  documents: paragraph
  sequence_length: 128
  tokenizer: {kind: train, algorithm: bpe, vocab_size: 4096}
model:
  init:
    kind: scratch
    architecture: gpt2
    hidden_size: 256
    num_hidden_layers: 4
    num_attention_heads: 4
    max_position_embeddings: 128
    dropout: 0.1
objective: {kind: clm}
training:
  length: LENGTH steps
  global_batch: 16
  micro_batch: 8
  learning_rate: 1e-3
  schedule: {kind: cosine, warmup: 5 steps}
  log_every: 1 steps
  checkpoint: {every: never}
evaluation: {every: never, at_start: false, best: null}
hardware: {device: cpu}
tracking: {tensorboard: false, profile: {first: 11, last: 15}}
"""
RUNJOB = str(Path(sys.executable).parent / "runjob")
WATCHED = range(11, 16)
# As torch's profiler calls what the gloo backend does
COLLECTIVE = "gloo:"
SHAPES = [(ranks, threads, zero) for (ranks, threads), zero in product(((1, 2), (2, 1)), (0, 1, 2, 3))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    rates: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    shares: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    losses: dict[tuple[int, int, int], float] = {}
    with tempfile.TemporaryDirectory() as place:
        os.environ["RUNJOB_HOME"] = str(Path(place, "runs"))
        job = Path(place, "ranks.yaml")
        job.write_text(JOB.replace("LENGTH", str(options.steps)), encoding="utf-8")
        for _, shape in product(range(options.rounds), SHAPES):
            run = train(job, *shape)
            records = events(run, "train")
            steps = [one for one in records if one["step"] > 10 and one["step"] not in WATCHED]
            rates[shape].append(statistics.median(one["tokens_per_s"] for one in steps))
            shares[shape].append(share_in_collectives(run))
            losses[shape] = records[-1]["loss"]
    print("| ranks x threads | ZeRO | tokens/s, best (range) | of the first row | in collectives | last loss |")
    print("|---|---|---|---|---|---|")
    first = max(rates[SHAPES[0]])
    for shape in SHAPES:
        ranks, threads, zero = shape
        best, least = max(rates[shape]), min(rates[shape])
        print(
            f"| {ranks} x {threads} | {zero} | {best:,.0f} ({least:,.0f} to {best:,.0f}) | {best / first:.2f} ", end=""
        )
        print(f"| {statistics.median(shares[shape]):.1%} | {losses[shape]:.6f} |")


def train(job: Path, ranks: int, threads: int, zero: int) -> Path:
    sets = (f"hardware.ranks={ranks}", f"hardware.threads={threads}", f"hardware.zero={zero}")
    argv = [RUNJOB, str(job), *(word for one in sets for word in ("--set", one))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{argv}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return Path(os.environ["RUNJOB_HOME"], done.stdout.splitlines()[0])


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record for record in every if record["event"] == kind]


def share_in_collectives(run: Path) -> float:
    """Time during which at least one collective of rank 0 was under way, of the watched steps' time."""
    (said,) = events(run, "profile")
    with gzip.open(run / said["trace"], "rt", encoding="utf-8") as file:
        calls = [call for call in json.load(file)["traceEvents"] if str(call.get("name")).startswith(COLLECTIVE)]
    spent, until = 0.0, 0.0
    for begin, end in sorted((call["ts"], call["ts"] + call["dur"]) for call in calls if "dur" in call):
        spent += max(end - max(begin, until), 0.0)
        until = max(until, end)
    return spent / 1e6 / float(said["seconds"])


if __name__ == "__main__":
    main()
