"""A real job, small enough to be trained many times: a two-layer GPT-2 on real Dutch text, through the installed
`runjob`, supervisor, torchrun and DeepSpeed."""

import gzip
import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runjob.data.samples import locate
from runjob.schemas.processes import descendants
from runjob.schemas.run import RunDir, read_json
from tests.conftest import Home, Processes, Runjob, make_home, run_script, wait_until

# What may differ between a run and the same run killed and resumed
NOT_COMPARED = ("time", "attempt", "data_wait", "tokens_per_s", "samples_per_s", "memory")

JOB = """
schema: 1
name: small
data:
  kind: text
  path: corpus.txt
  documents: paragraph
  sequence_length: 32
  tokenizer: {kind: train, algorithm: bpe, vocab_size: 512}
  split: {kind: hash, validation: 0.1}
model:
  init:
    kind: scratch
    architecture: gpt2
    hidden_size: 32
    num_hidden_layers: 2
    num_attention_heads: 2
    max_position_embeddings: 32
    dropout: 0.1
objective: {kind: clm}
training:
  length: 20 steps
  global_batch: 8
  micro_batch: 4
  learning_rate: 1e-2
  schedule: {kind: cosine, warmup: 5 steps}
  log_every: 1 steps
  checkpoint: {every: 7 steps, keep: 2}
evaluation: {every: 5 steps}
hardware: {device: cpu, ranks: 1, threads: 1}
tracking: {tensorboard: false}
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where a test submits, kills and compares."""

    home: Home
    runjob: Runjob
    processes: Processes
    job: Path

    def submit(self, *sets: str, expect: int = 0, env: dict[str, str] | None = None) -> RunDir:
        """Run the small job with these --set values to its end."""
        done = self.runjob(self.job, *flags(sets), env=env)
        assert done.returncode == expect, done.stdout + done.stderr
        return RunDir(self.home.runs / done.stdout.splitlines()[0])

    def start(self, *sets: str, env: dict[str, str] | None = None) -> RunDir:
        """Submit and leave it running."""
        done = self.runjob(self.job, "--detach", *flags(sets), env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return RunDir(self.home.runs / done.stdout.splitlines()[0])

    def resume(self, run: RunDir, *arguments: str, expect: int = 0) -> str:
        done = self.runjob("resume", run.id, *arguments)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def why(self, run: RunDir) -> dict[str, Any]:
        """What `runjob why --json` says."""
        done = self.runjob("why", run.id, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def reach(self, run: RunDir, step: int) -> None:
        """Wait until the run has come to this step (or has ended)."""
        wait_until(lambda: progress(run) >= step, within_s=120, what=f"{run.id} to reach step {step}")

    def kill_everything(self, run: RunDir) -> None:
        """SIGKILL of the supervisor, torchrun and all ranks, in one go."""
        supervisor = read_json(run.handle)["pid"]
        for pid in (supervisor, *(facts.pid for facts in descendants(supervisor))):
            kill(pid)
        wait_until(lambda: not self.processes.alive(), within_s=30, what="every process of the run to end")


def flags(sets: tuple[str, ...]) -> list[str]:
    return [word for one in sets for word in ("--set", one)]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def progress(run: RunDir) -> int:
    return int(read_json(run.progress)["step"]) if run.progress.exists() else 0


def records(run: RunDir, *events: str) -> list[dict[str, Any]]:
    """Train and eval records without what may differ between two equal runs."""
    wanted = events or ("train", "eval")
    return [
        {key: value for key, value in record.items() if key not in NOT_COMPARED}
        for record in run.read_events()
        if record["event"] in wanted
    ]


def losses(run: RunDir) -> list[float]:
    return [record["loss"] for record in records(run, "train")]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same_run(one: RunDir, other: RunDir) -> None:
    """Equal in every train and eval record, and in the bytes of the exported weights and of the last checkpoint."""
    assert records(one) == records(other)
    assert digest(one.model / "model.safetensors") == digest(other.model / "model.safetensors")
    last = one.latest.read_text().strip()
    assert last == other.latest.read_text().strip()
    for name in ("weights", "exp_avg", "exp_avg_sq"):
        file = f"{name}-00001.safetensors"
        assert digest(one.checkpoints / last / file) == digest(other.checkpoints / last / file)


def write_job(folder: Path) -> Path:
    """The job file, and beside it the first 150,000 characters of the shipped Dutch text, whole pages."""
    with gzip.open(locate("dutch"), "rt", encoding="utf-8") as file:
        text = file.read(150_000)
    (folder / "corpus.txt").write_text(text[: text.rindex("\n\n")] + "\n", encoding="utf-8")
    job = folder / "small.yaml"
    job.write_text(JOB, encoding="utf-8")
    return job


@pytest.fixture
def bench(home: Home, runjob: Runjob, processes: Processes) -> Bench:
    return Bench(home=home, runjob=runjob, processes=processes, job=write_job(home.path))


Straight = Callable[..., RunDir]


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """`straight(*sets)`: the unbroken run of the small job with these values, trained once for all tests."""
    home = make_home(tmp_path_factory.mktemp("straight"))
    job = write_job(home.path)
    runs: dict[tuple[str, ...], RunDir] = {}

    def run(*sets: str) -> RunDir:
        if sets not in runs:
            done = run_script(home, job, *flags(sets))
            assert done.returncode == 0, done.stdout + done.stderr
            runs[sets] = RunDir(home.runs / done.stdout.splitlines()[0])
        return runs[sets]

    return run
