"""The losses of one small job at every ZeRO stage, with 1 and 2 ranks, in fp32 and bf16: a table of the first 20 steps,
and whether the same job killed while it saves and resumed is equal to the bit. `python benchmarks/stages.py`, about ten
minutes on two cores; the last table stands in docs/journal.md."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

JOB = """
schema: 1
name: stages
data:
  kind: text
  path: sample:dutch
  documents: paragraph
  sequence_length: 64
  tokenizer: {kind: train, algorithm: bpe, vocab_size: 1024}
model:
  init:
    kind: scratch
    architecture: gpt2
    hidden_size: 64
    num_hidden_layers: 2
    num_attention_heads: 4
    max_position_embeddings: 64
    dropout: DROPOUT
objective: {kind: clm}
training:
  length: 20 steps
  global_batch: 8
  micro_batch: 4
  learning_rate: 3e-3
  schedule: {kind: cosine, warmup: 5 steps}
  log_every: 1 steps
  checkpoint: {every: 7 steps}
evaluation: {every: 20 steps}
hardware: {device: cpu, threads: 1}
tracking: {tensorboard: false}
"""
RUNJOB = str(Path(sys.executable).parent / "runjob")
NOT_COMPARED = ("time", "attempt", "data_wait", "tokens_per_s", "samples_per_s", "memory")
SHOWN = (1, 2, 5, 10, 15, 20)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        job = Path(place, "stages.yaml")
        print("| ZeRO | ranks | precision | " + " | ".join(f"step {step}" for step in SHOWN), end="")
        print(" | largest difference (fp32: to the first row) | resumed, dropout 0.1 |")
        print("|---" * (len(SHOWN) + 5) + "|")
        reference: list[float] = []
        for precision, zero, ranks in product(("fp32", "bf16"), (0, 1, 2, 3), (1, 2)):
            sets = (f"hardware.zero={zero}", f"hardware.ranks={ranks}", f"training.precision={precision}")
            job.write_text(JOB.replace("DROPOUT", "0"), encoding="utf-8")
            losses = [record["loss"] for record in records(submit(job, sets)) if record["event"] == "train"]
            reference = reference or losses
            apart = max(abs(one - other) / other for one, other in zip(losses, reference, strict=True))
            job.write_text(JOB.replace("DROPOUT", "0.1"), encoding="utf-8")
            same = "equal" if straight_and_broken_agree(job, sets) else "DIFFERENT"
            shown = " | ".join(f"{losses[step - 1]:.7f}" for step in SHOWN)
            print(f"| {zero} | {ranks} | {precision} | {shown} | {apart:.1e} | {same} |", flush=True)


def straight_and_broken_agree(job: Path, sets: tuple[str, ...]) -> bool:
    straight = submit(job, sets)
    broken = submit(job, sets, fault="checkpoint-before-manifest@14")
    run([RUNJOB, "resume", broken.name])
    return records(straight) == records(broken) and weights(straight) == weights(broken)


def submit(job: Path, sets: tuple[str, ...], *, fault: str = "") -> Path:
    environment = {"RUNJOB_TEST_FAULT": fault} if fault else {}
    said = run([RUNJOB, str(job), *(word for one in sets for word in ("--set", one))], environment, fails=bool(fault))
    return Path(os.environ["RUNJOB_HOME"], said.splitlines()[0])


def run(argv: list[str], environment: dict[str, str] | None = None, *, fails: bool = False) -> str:
    done = subprocess.run(argv, env=os.environ | (environment or {}), capture_output=True, text=True, check=False)
    if (done.returncode != 0) != fails:
        raise SystemExit(f"{argv}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def records(run_directory: Path) -> list[dict[str, object]]:
    lines = (run_directory / "events.jsonl").read_text(encoding="utf-8").splitlines()
    every = [json.loads(line) for line in lines]
    return [
        {key: value for key, value in record.items() if key not in NOT_COMPARED}
        for record in every
        if record["event"] in ("train", "eval")
    ]


def weights(run_directory: Path) -> str:
    return hashlib.sha256((run_directory / "model" / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["RUNJOB_HOME"] = home
        main()
