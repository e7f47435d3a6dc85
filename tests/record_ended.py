"""Makes tests/cases/ended: what runs left behind that really came to grief, each in a way of its own.

    python -m tests.record_ended [NAME ...]

Every case trains, or tries to, with the frozen code, supervisor, torchrun and ranks of a user's run, and what breaks it
is real: limits of the kernel, small file systems, signals, ports that nobody listens at, damaged files. Some need root
(a mount, a control group). Of a run those records are kept that `why` reads, with folders and host names replaced and
logs cut to their end; nothing in them is written by hand.
"""

import contextlib
import gzip
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runjob.launchers.kill import kill_everything
from runjob.runner.place import plan_on, survey
from runjob.runner.runs import state_of
from runjob.runner.submit import create_run, launch
from runjob.schemas.errors import LaunchError
from runjob.schemas.plan import Plan
from runjob.schemas.processes import descendants
from runjob.schemas.read import read_job
from runjob.schemas.run import ALIVE_STATES, RunDir, read_json
from tests.breaking import control_group, fill, limit, small_disk
from tests.conftest import ROOT, Home, make_home, run_script, wait_until

CASES = Path(__file__).parent / "cases" / "ended"
RECORDS = ("job.json", "plan.json", "status.json", "handle.json", "progress.json", "stream/failure.json")
KEPT_EVENTS = ("preempt", "error")
LOG_LINES = 30
CLOSED = "http://127.0.0.1:9"  # the port "discard", which nobody serves any more
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
objective: {kind: clm}
training:
  length: 2000 steps
  global_batch: 8
  micro_batch: 4
  learning_rate: 1e-2
  kernels: torch
  log_every: 1 steps
  checkpoint: {every: 7 steps, keep: 2}
evaluation: {every: 500 steps}
hardware: {device: cpu, ranks: 1, threads: 1}
tracking: {tensorboard: false}
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    home: Home
    job: Path

    def create(self, *sets: str) -> tuple[RunDir, Plan]:
        """A run that nobody has started yet."""
        resolved = read_job(self.job, sets)
        plan = plan_on(resolved, survey(resolved, "local"))
        return create_run(resolved, plan, source=self.job, home=self.home.runs, launcher="local"), plan

    def start(self, run: RunDir, plan: Plan) -> RunDir:
        launch(run, plan, run.attempt(1), launcher="local")
        return run

    def begin(self, *sets: str) -> RunDir:
        return self.start(*self.create(*sets))

    def reach(self, run: RunDir, step: int) -> None:
        wait_until(lambda: step_of(run) >= step, within_s=180, what=f"step {step} of {run.id}")

    def prepare(self) -> None:
        done = run_script(self.home, "prepare", self.job)
        assert done.returncode == 0, done.stderr

    def command(self, *words: str | Path) -> None:
        run_script(self.home, *words)


Case = Callable[[Bench], RunDir]


def step_of(run: RunDir) -> int:
    return int(read_json(run.progress)["step"]) if run.progress.exists() else 0


def corpus() -> str:
    with gzip.open(ROOT / "data" / "samples" / "dutch.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read(150_000)
    return text[: text.rindex("\n\n")] + "\n"


def below(run: RunDir) -> list[int]:
    return [one.pid for one in descendants(read_json(run.handle)["pid"])]


def rank_of(run: RunDir, rank: int) -> int:
    wanted = f"RANK={rank}".encode()
    return next(pid for pid in below(run) if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


MUCH = ("training.global_batch=16384", "training.micro_batch=16384")


def memory_refused(bench: Bench) -> RunDir:
    bench.prepare()
    run, plan = bench.create(*MUCH)
    with limit(resource.RLIMIT_AS, 5 * 2**29):
        return bench.start(run, plan)


def memory_killed(bench: Bench) -> RunDir:
    bench.prepare()
    run, plan = bench.create(*MUCH)
    with control_group(1200 * 2**20):
        return bench.start(run, plan)


def numerics(bench: Bench) -> RunDir:
    """Each step multiplies the weights by -9."""
    constant = "training.schedule={kind: constant, warmup: 0 steps}"
    return bench.begin("training.learning_rate=1", "training.optimizer={kind: adamw, weight_decay: 10}", constant)


def data_not_utf8(bench: Bench) -> RunDir:
    run, plan = bench.create()
    with (bench.job.parent / "corpus.txt").open("ab") as file:
        file.write(b"\n\nna\xefve\n")
    return bench.start(run, plan)


def data_changed(bench: Bench) -> RunDir:
    run = bench.begin("training.stop_after=2 steps")
    settled(run)
    corpus = bench.job.parent / "corpus.txt"
    corpus.write_text(corpus.read_text().replace(" de ", " het "))
    bench.command("resume", run.id)
    return run


def configuration_missing(bench: Bench) -> RunDir:
    run, plan = bench.create()
    (bench.job.parent / "corpus.txt").unlink()
    return bench.start(run, plan)


def configuration_too_small(bench: Bench) -> RunDir:
    return bench.begin("data.tokenizer.algorithm=wordpiece", "data.tokenizer.vocab_size=40")


def checkpoint_damaged(bench: Bench) -> RunDir:
    run = bench.begin("training.stop_after=2 steps")
    settled(run)
    (weights,) = run.checkpoints.glob("step-*/weights-*.safetensors")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    bench.command("resume", run.id, "--from", "2")
    return run


def disk_full_preparing(bench: Bench) -> RunDir:
    run, plan = bench.create()
    with small_disk(bench.home.cache, "64k"):
        bench.start(run, plan)
        settled(run)
    return run


def disk_full_saving(bench: Bench) -> RunDir:
    bench.prepare()
    with small_disk(bench.home.runs, "200m"):
        run, plan = bench.create()
        fill(bench.home.runs, leave=400_000)
        bench.start(run, plan)
        settled(run)
        return keep(run, bench)


def disk_limit_of_a_file(bench: Bench) -> RunDir:
    bench.prepare()
    run, plan = bench.create()
    with limit(resource.RLIMIT_FSIZE, 100_000):
        return bench.start(run, plan)


def network_refused(bench: Bench) -> RunDir:
    return bench.begin(f"data.path={CLOSED}/corpus.txt")


def import_in_a_rank(bench: Bench) -> RunDir:
    return without_a_module(bench, "runner/worker/assemble.py")


def import_before(bench: Bench) -> RunDir:
    return without_a_module(bench, "data/prepare.py")


def without_a_module(bench: Bench, file: str) -> RunDir:
    run, plan = bench.create()
    code = run.code / "runjob" / file
    code.write_text(code.read_text().replace("\nimport ", "\nimport nobody_has_this\nimport ", 1))
    return bench.start(run, plan)


def program_missing(bench: Bench) -> RunDir:
    run, _ = bench.create()
    shown = Plan.read(run.plan).to_json().replace('"{python}"', '"/opt/none/bin/python"')
    run.plan.write_text(shown)
    return bench.start(run, Plan.from_json(shown))


def killed_rank(bench: Bench) -> RunDir:
    return struck(bench, lambda run: rank_of(run, 1), signal.SIGKILL, ranks=2)


def killed_torchrun(bench: Bench) -> RunDir:
    return struck(bench, lambda run: below(run)[0], signal.SIGKILL)


def killed_preparing(bench: Bench) -> RunDir:
    run = bench.begin()
    wait_until(lambda: bool(below(run)), within_s=20, what="the preparation")
    os.kill(below(run)[0], signal.SIGKILL)
    return run


def crashed_rank(bench: Bench) -> RunDir:
    return struck(bench, lambda run: rank_of(run, 0), signal.SIGSEGV)


def struck(bench: Bench, whom: Callable[[RunDir], int], number: signal.Signals, *, ranks: int = 1) -> RunDir:
    run = bench.begin(f"hardware.ranks={ranks}")
    bench.reach(run, 8)
    os.kill(whom(run), number)
    return run


def preempted(bench: Bench) -> RunDir:
    run = bench.begin()
    bench.reach(run, 2)
    os.kill(read_json(run.handle)["pid"], signal.SIGTERM)
    return run


def cancelled(bench: Bench) -> RunDir:
    run = bench.begin()
    bench.reach(run, 2)
    bench.command("cancel", run.id)
    return run


def paused(bench: Bench) -> RunDir:
    return bench.begin("training.stop_after=2 steps")


def processor_time(bench: Bench) -> RunDir:
    """The kernel's own time limit: SIGXCPU."""
    bench.prepare()
    run, plan = bench.create()
    with limit(resource.RLIMIT_CPU, 6):
        return bench.start(run, plan)


def unknown_bug(bench: Bench) -> RunDir:
    """A bug whose words lie: it is neither memory, nor the disk, nor the network."""
    run, plan = bench.create()
    loop = run.code / "runjob" / "runner" / "worker" / "train.py"
    words = "CUDA out of memory? No space left on device! Connection refused: NaN, ModuleNotFoundError"
    loop.write_text(loop.read_text().replace("losses = []\n", f'raise ValueError("{words}")\n', 1))
    return bench.start(run, plan)


ALL: tuple[Case, ...] = (
    memory_refused, memory_killed, numerics, data_not_utf8, data_changed, configuration_missing, 
    configuration_too_small,
    checkpoint_damaged, disk_full_preparing, disk_full_saving,
    disk_limit_of_a_file, network_refused, import_in_a_rank,
    import_before, program_missing, killed_rank, killed_torchrun, killed_preparing, crashed_rank, preempted, cancelled,
    paused, processor_time, unknown_bug,
)  # fmt: skip


def settled(run: RunDir) -> None:
    wait_until(lambda: state_of(run).state not in ALIVE_STATES, within_s=240, what=f"{run.id} to end")


def keep(run: RunDir, bench: Bench) -> RunDir:
    """A copy of what lies on a disk that is about to go."""
    copy = bench.home.path / run.id
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("code", "filler"))
    return RunDir(copy)


def record(case: Case, scratch: Path) -> str:
    folder = scratch / case.__name__
    folder.mkdir()
    home = make_home(folder)
    os.environ.update(home.env)
    job = home.path / "small.yaml"
    job.write_text(JOB, encoding="utf-8")
    (home.path / "corpus.txt").write_text(corpus(), encoding="utf-8")
    run = None
    try:
        run = case(Bench(home=home, job=job))
        settled(run)
        write(run, CASES / case.__name__, {str(folder): "/home/me", str(ROOT): "/opt", socket.gethostname(): "here"})
        return run_script(home, "why", run.id, env={"RUNJOB_HOME": str(run.path.parent)}).stdout
    finally:
        if run is not None and run.handle.exists():
            with contextlib.suppress(LaunchError):
                kill_everything(run)


def write(run: RunDir, target: Path, names: dict[str, str]) -> None:
    def clean(text: str) -> str:
        for old, new in names.items():
            text = text.replace(old, new)
        return text

    shutil.rmtree(target, ignore_errors=True)
    kept = [run.path / name for name in RECORDS]
    kept += [path for path in run.attempts.rglob("*") if path.suffix in (".json", ".log")]
    for path in kept:
        if path.is_file():
            copy = target / path.relative_to(run.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            lines = clean(path.read_text(encoding="utf-8", errors="replace")).splitlines(keepends=True)
            copy.write_text("".join(lines[-LOG_LINES:] if path.suffix == ".log" else lines), encoding="utf-8")
    events = [record for record in run.read_events() if record["event"] in KEPT_EVENTS]
    if events:
        (target / "events.jsonl").write_text(clean("".join(json.dumps(one) + "\n" for one in events)))


def main(wanted: list[str]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="ended-"))
    for case in ALL:
        if not wanted or case.__name__ in wanted:
            began = time.monotonic()
            print(f"=== {case.__name__}", flush=True)
            said = record(case, scratch)
            print(said, f"--- {time.monotonic() - began:.0f} s", sep="", flush=True)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
