"""What a launcher accepts: a plan is plain values, compiled from a job without touching anything.

`{run}` and `{python}` in argv and environment are filled in by the launcher, where the run directory and the
interpreter are known, and where a job has several nodes `{node}`, `{master}` and `{port}` too: which of them this is,
and where they meet. That keeps one plan good for this machine, a host over SSH and a cluster.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from runjob.schemas.errors import RunjobError
from runjob.schemas.records import unsealed
from runjob.schemas.run import RunDir, read_json

StageName = Literal["prepare", "train"]
CompanionName = Literal["upload", "spot_notice"]
WAY_ON = "`runjob resume` compiles it anew from job.json"
PLACEHOLDER = re.compile(r"\{(run|python|node|master|port)\}")
# A library that would tell its makers what is done with it doesn't: the first three are the Hub's words for it, the
# last is for reports of W&B's own failures
NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_ERROR_REPORTING": "false",
}
# Of every program of a run: the code that is frozen in it and no folder of the user's own (`import data`), and words
# that are in its log when they are said
RUN_ENVIRONMENT = {"PYTHONPATH": "{run}/code", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **NO_TELEMETRY}


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where the nodes of one attempt meet: which one this is (0 owns the run), address and port of node 0."""

    node: int
    master: str
    port: int


ALONE = Meeting(node=0, master="127.0.0.1", port=0)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One process (tree) that must end with 0 before the next stage starts; `train` is always the last."""

    name: StageName
    argv: tuple[str, ...]
    env: Mapping[str, str]

    def located(self, *, run: str, python: str, meeting: Meeting = ALONE) -> "Stage":
        """The same stage with the run directory and the interpreter of the place where it runs."""
        return _located(
            self, {"run": run, "python": python, **{key: str(value) for key, value in vars(meeting).items()}}
        )


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A process beside the stages, from before the first of them on. It has no say in how the job ends; if it dies it
    is started again. When the stages have ended it may go on for `finish_s` (0: it ends with them)."""

    name: CompanionName
    argv: tuple[str, ...]
    env: Mapping[str, str]
    finish_s: int

    def located(self, *, run: str, python: str) -> "Companion":
        """The same companion with the run directory and the interpreter of the place where it runs."""
        return _located(self, {"run": run, "python": python})


Program = TypeVar("Program", Stage, Companion)


def _located(program: Program, values: Mapping[str, str]) -> Program:
    argv = tuple(_fill(word, values) for word in program.argv)
    return dataclasses.replace(program, argv=argv, env={key: _fill(text, values) for key, text in program.env.items()})


def _fill(text: str, values: Mapping[str, str]) -> str:
    """In one pass: a directory may well be called {node}."""
    return PLACEHOLDER.sub(lambda found: values[found[1]] if found[1] in values else found[0], text)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """How one optimiser step is cut: `global_batch` = ranks x accumulation x micro_batch (sequences). Where the job
    cuts by `micro_tokens`, a step has the micro batches that its rows need: at most `accumulation`, of `micro_batch` 1.
    """

    global_batch: int
    ranks: int
    micro_batch: int
    accumulation: int
    micro_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class Resources:
    device: Literal["cpu", "cuda", "mps"]
    nodes: int
    ranks_per_node: int
    gpus_per_node: int
    threads: int
    memory: str | None
    time: str | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one optimiser step computes, on average: floating-point `operations` (None where the network's sizes can't
    be known), for so many input `tokens`, padding not among them. `most`: both as if every row were full, since nobody
    knows the rows yet."""

    operations: int | None
    tokens: int
    most: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`steps` and `parameters` are None where they can't be known yet; `unknown` says what makes them known."""

    name: str
    resources: Resources
    batch: Batch
    stages: tuple[Stage, ...]
    deepspeed: Mapping[str, Any]
    steps: int | None
    tokens_per_step: int
    parameters: int | None
    unknown: tuple[str, ...]
    stop_deadline_s: int
    companions: tuple[Companion, ...] = ()
    work: Work | None = None  # for who plans; what runs has no use for it, and plan.json lacks it

    def to_values(self) -> dict[str, Any]:
        """Without companions where there are none: the code of a run that is older than they are reads this too."""
        raw = dataclasses.asdict(self)
        del raw["work"]
        if not self.companions:
            del raw["companions"]
        return raw

    def to_json(self) -> str:
        return json.dumps(self.to_values(), indent=2, ensure_ascii=False) + "\n"

    def write(self, run: RunDir) -> None:
        """plan.json, with a sum of itself."""
        run.write_sealed(run.plan, self.to_values())

    @staticmethod
    def read(path: Path) -> "Plan":
        """RunjobError if the file is not there or damaged."""
        values = unsealed(read_json(path), path, way_on=WAY_ON)
        try:
            return Plan.from_values(values)
        except (TypeError, KeyError, AttributeError) as error:
            raise RunjobError(f"{path}: damaged: not a plan of this version of runjob: {error!r}") from error

    @staticmethod
    def from_json(text: str) -> "Plan":
        return Plan.from_values(json.loads(text))

    @staticmethod
    def from_values(raw: Mapping[str, Any]) -> "Plan":
        beside = raw.get("companions", ())
        return Plan(
            **{
                **raw,
                "resources": Resources(**raw["resources"]),
                "batch": Batch(**raw["batch"]),
                "stages": tuple(Stage(**{**stage, "argv": tuple(stage["argv"])}) for stage in raw["stages"]),
                "unknown": tuple(raw["unknown"]),
                "companions": tuple(Companion(**{**one, "argv": tuple(one["argv"])}) for one in beside),
            }
        )
