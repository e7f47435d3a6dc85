"""The columns of the table, each a way to train the same thing. Every run is a process of its own: a peer is its
script, runjob is its command line."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.inputs import Inputs
from benchmarks.speed.processes import execute
from benchmarks.speed.runs import Run, read_events, read_record
from benchmarks.speed.workloads import Workload
from runjob.runner.compile import compile_job
from runjob.schemas.machine import detect_machine
from runjob.schemas.read import read_job

PEERS = Path(__file__).parent.parent / "peers"
RUNJOB = Path(sys.executable).parent / "runjob"
# Settings of threads and of the allocator: peer A and runjob find none of them, whoever calls the bench; peer B gets
# those that runjob gives its own ranks.
TUNING = (
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "TCMALLOC_",
    "_RJEM_",
    "JEMALLOC_",
)
# What would reach into a run from outside: tests, other runs, trackers
FOREIGN = ("RUNJOB_", "WANDB_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "PYTHONPATH")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a row's runs happen: its workload, what they begin with, a folder for what they leave, CUDA or not; and
    `threads` where all columns are to have so many (None: what each takes by itself)."""

    name: str
    workload: Workload
    inputs: Inputs
    folder: Path
    cuda: bool
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A script of benchmarks/peers; `tuned` makes A to B."""

    title: str
    tuned: bool

    def run(self, stage: Stage, *, seed: int) -> Run:
        record = stage.folder / f"{self.title}-{seed}.json"
        work = stage.workload
        said = {
            "text": stage.inputs.text,
            "model": stage.inputs.model,
            "record": record,
            "steps": work.steps,
            "batch": work.batch,
            "length": work.length,
            "learning-rate": work.learning_rate,
            "probability": work.probability,
            "unit": work.objective.get("unit", "token"),
            "seed": seed,
        }
        argv = [sys.executable, str(PEERS / f"{work.peer}.py")]
        argv += [word for name, value in said.items() for word in (f"--{name}", str(value))]
        settings = runjob_settings(stage) if self.tuned else {}
        execute([*argv, *(["--tuned"] if self.tuned else [])], environment(stage) | settings, stage.folder)
        return read_record(record, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Ours:
    """`runjob JOB.yaml`, with the `sets` that the column adds to the job."""

    title: str
    sets: tuple[str, ...]

    def run(self, stage: Stage, *, seed: int) -> Run:
        job = write_job(stage, seed=seed)
        argv = [str(RUNJOB), str(job), *(word for one in self.sets for word in ("--set", one))]
        said = execute(argv, environment(stage), stage.folder)
        return read_events(stage.folder / "runs" / said.split()[0] / "events.jsonl", seed=seed)


Column = Peer | Ours


def environment(stage: Stage) -> dict[str, str]:
    """As in a new shell, without a hub, with runjob's folders in ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TUNING + FOREIGN)}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(stage.folder / "datasets"),
        "RUNJOB_HOME": str(stage.folder / "runs"),
        "RUNJOB_CACHE": str(stage.folder / "cache"),
        "XDG_CONFIG_HOME": str(stage.folder / "config"),
        **({} if stage.cuda else {"CUDA_VISIBLE_DEVICES": ""}),
        **({} if stage.threads is None else {"OMP_NUM_THREADS": str(stage.threads)}),
    }


def runjob_settings(stage: Stage) -> dict[str, str]:
    """Threads and allocator as the plan of the row's own job has them."""
    plan = compile_job(read_job(write_job(stage, seed=1)).job, detect_machine())
    train: Mapping[str, str] = plan.stages[-1].env
    return {name: value for name, value in train.items() if name.startswith(TUNING)}


def write_job(stage: Stage, *, seed: int) -> Path:
    """The row's job file. JSON is YAML: one that a person would write stands in jobs/."""
    path = stage.folder / f"{stage.name}-{seed}.yaml"
    path.write_text(json.dumps(job_of(stage, seed=seed), indent=1), encoding="utf-8")
    return path


def job_of(stage: Stage, *, seed: int) -> dict[str, object]:
    work, model = stage.workload, str(stage.inputs.model)
    hardware: dict[str, object] = {"device": "cuda", "gpus": 1} if stage.cuda else {"device": "cpu", "ranks": 1}
    return {
        "schema": 1,
        "name": f"bench_{stage.name}",
        "seed": seed,
        "data": {
            "kind": "text",
            "path": str(stage.inputs.text),
            "documents": "line",
            "layout": work.layout,
            "long_documents": "truncate" if work.layout == "lines" else "split",
            "sequence_length": work.length,
            "tokenizer": {"kind": "pretrained", "path": model} if work.tokenizer else {"kind": "characters"},
            "split": {"kind": "files", "validation": [str(stage.inputs.validation)]},
        },
        "model": {"init": {"kind": "pretrained", "path": model}},
        "objective": dict(work.objective),
        "training": {
            "length": f"{work.steps} steps",
            "global_batch": work.batch,
            "micro_tokens": work.micro_tokens,
            "learning_rate": work.learning_rate,
            "schedule": {"kind": "constant", "warmup": "0 steps"},
            # what Trainer does unless it is told otherwise
            "optimizer": {"kind": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
            "gradient_clipping": 1.0,
            "precision": "bf16",
            "log_every": "1 steps",
            "checkpoint": {"every": "never"},
        },
        "evaluation": {"every": "never", "at_start": False, "best": None},
        "hardware": hardware | ({} if stage.threads is None else {"threads": stage.threads}),
        "tracking": {"tensorboard": False},
    }
