"""The five tiny jobs, narrower still: twenty steps in a second or two, so that what a trial costs is a start. All that
makes each of them itself stays: its rows, its objective, its network, its tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.place import Place, trace
from benchmarks.chaos.results import ROOT
from runjob.runner.runs import state_of
from runjob.schemas.run import RunDir

STEPS = 20
SAVED_EVERY = 4
COMMON = (
    f"training.length={STEPS} steps",
    f"training.checkpoint={{every: {SAVED_EVERY} steps, keep: 2}}",
    "training.log_every=1 steps",
    "training.schedule.warmup=4 steps",
    "training.global_batch=8",
    "evaluation.every=10 steps",
    "evaluation.best=loss",
    "evaluation.prompts=[]",
    "data.token_budget=40k",
    "tracking.tensorboard=false",
    "hardware.threads=1",
)
FIRST = "data.split={kind: first, validation: 30}"
OWN = {
    "gpt2_dutch": (FIRST, "evaluation.baseline=null", "training.micro_batch=4", "model.init.hidden_size=32"),
    "canine_domains": (
        FIRST,
        "evaluation.baseline=null",
        "evaluation.early_stopping=null",
        "training.micro_tokens=256",
        "model.init.hidden_size=32",
    ),
    "paleo_dapt": (
        FIRST,
        "evaluation.early_stopping=null",
        "training.micro_batch=4",
        "model.init.hidden_size=32",
    ),
    "mpnet": (
        "data.split={kind: first, validation: 30, test: 30}",
        "training.micro_tokens=256",
        "model.init.hidden_size=32",
    ),
    "modernbert_student": (FIRST, "training.micro_batch=4"),
}


@dataclass(frozen=True, kw_only=True)
class Narrow:
    """One of the jobs with so many ranks; dropout is on wherever the job has a field for it."""

    name: str
    ranks: int
    more: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return ROOT / "jobs" / "tiny" / f"{self.name}.yaml"

    @property
    def sets(self) -> tuple[str, ...]:
        # stage 1 parts the optimiser's state between the ranks, so that a resume has something to put together
        split = (f"hardware.ranks={self.ranks}", f"hardware.zero={int(self.ranks > 1)}")
        dropout = ("model.init.dropout=0.1",) if self.name != "modernbert_student" else ()
        return (*COMMON, *OWN[self.name], *dropout, *split, *self.more)

    def __str__(self) -> str:
        return " ".join([f"{self.name} x{self.ranks}", *self.more])


class References:
    """The unbroken run of each job, trained when it is first asked for."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.runs: dict[Narrow, RunDir] = {}

    def of(self, job: Narrow) -> RunDir:
        if job not in self.runs:
            run = self.place.submit(job.file, job.sets)
            if state_of(run).state != "finished":
                raise SystemExit(f"{job}: the unbroken run did not come to its end; see {run.path}")
            self.runs[job] = run
        return self.runs[job]

    def same(self, job: Narrow, run: RunDir) -> bool:
        return trace(self.of(job)) == trace(run)


def all_jobs(ranks: Sequence[int] = (1, 2)) -> list[Narrow]:
    return [Narrow(name=name, ranks=count) for count in ranks for name in OWN]
