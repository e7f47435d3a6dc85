"""How long a step of a job takes, as a run in this home has measured it: the newest one that computed in a step what
the job would, at such a place, with so many ranks and threads. What must be equal is every value of the job but those
of UNFELT; a field that is new here counts as felt, so that a time is rather unknown than wrong.

A `plan` has no time to read thousands of runs. It looks at LOOKED of them, those of the job's own name before the
others and the last used first, and of the one that fits at the end of its records.
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from runjob.runner.changes import leaves
from runjob.runner.runs import known_launcher
from runjob.schemas.earlier import complete
from runjob.schemas.errors import RunjobError
from runjob.schemas.json_object import read_object
from runjob.schemas.machine import kernel_compiler
from runjob.schemas.plan import Plan
from runjob.schemas.run import RunDir, parse_event, run_ids, written_at

Record = dict[str, Any]
LOOKED = 60
# What reading a run ends in that is damaged, of another time, or somebody else's: nothing but a figure is lost
UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
# Fewer measured steps are chance; the first of an attempt, which builds kernels and fills caches, is none of them
FEWEST = 5
# Of events.jsonl: a thousand records and more
TAIL_BYTES = 512 * 1024
# A step takes as long with other ones. The longest prefix that fits decides, as in runner/changes.py
UNFELT = frozenset(
    {
        *("schema", "name", "seed", "evaluation", "tracking", "output"),
        *("data.split", "data.disk_budget", "data.warn_below"),
        *("training.length", "training.stop_after", "training.learning_rate", "training.schedule"),
        *("training.optimizer.betas", "training.optimizer.eps", "training.optimizer.weight_decay"),
        *("training.log_every", "training.checkpoint", "training.on_bad_step", "training.hung_after"),
        *("hardware.time", "hardware.memory", "hardware.slurm", "hardware.ssh", "hardware.aws"),
    }
)
# What of a launcher's block says which machine it is
PLACES: Mapping[str, tuple[str, ...]] = {
    "slurm": ("partition", "constraint", "gres", "cpus", "container_image"),
    "ssh": ("host",),
    "aws": ("instance",),
}
# An evaluation takes as long with other ones
UNFELT_BY_EVALUATION = frozenset({"every", "best", "at_start", "baseline"})


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Of the newest attempt of a run: the median of `seconds` a step over so many steps, the ranks, threads and device
    of its `start`, and the median of what an evaluation took, None where none was seen or the job evaluates otherwise.
    """

    run: str
    seconds: float
    steps: int
    ranks: int
    threads: int
    device: str
    evaluation_s: float | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A job whose pace is wanted: its values as job.json would hold them, its plan, and its launcher; `device` is the
    name of what it would compute on where that is this machine, else None."""

    values: Mapping[str, Any]
    plan: Plan
    launcher: str
    device: str | None


@dataclass(frozen=True)
class Paces:
    """The runs of one home, which several jobs may ask for."""

    home: Path

    def find(self, asked: Asked) -> Pace | None:
        """The newest that fits; None where none of those that are looked at does."""
        wanted = felt(asked.values)
        for run in self._candidates(asked.plan.name):
            try:
                if (values := same_computation(run, wanted)) is None or not same_machine(run, values, asked):
                    continue
                found = measured(run, values, asked)
            except UNREADABLE:
                continue
            if found is not None:
                return found
        return None

    def _candidates(self, name: str) -> list[RunDir]:
        """Those of that name first; of what has never trained nothing can be learnt."""
        own = [run for run, its in self._newest if its == name]
        others = (run for run, its in self._newest if its != name)
        known = (one for one in chain(own, others) if (self.home / one / "events.jsonl").is_file())
        return [RunDir(self.home / one) for one in islice(known, LOOKED)]

    @cached_property
    def _newest(self) -> list[tuple[str, str]]:
        """Id and name of every run, the last used first, by when a file was last made in it: to ask each for its
        job.yaml takes half as long again. None where nobody may look."""
        try:
            ids = sorted(run_ids(self.home), key=lambda one: written_at(f"{self.home}/{one}"), reverse=True)
        except OSError:
            return []
        return [(one, one.rpartition("-")[0]) for one in ids]


def felt(values: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how long a step takes, by path."""
    return {path: value for path, value in leaves(dict(values), "") if not is_unfelt(path)}


@cache
def is_unfelt(path: str) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:length]) in UNFELT for length in range(1, len(parts) + 1))


def same_computation(run: RunDir, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of its job if all that is felt is as wanted; else, or where nobody can read them, None."""
    raw = read_object(run.job)
    if not {"job", "origins"} <= raw.keys():
        return None
    values: dict[str, Any] = raw["job"]
    have = felt(values)
    if have == wanted:
        return values
    if any(path in have and have[path] != value for path, value in wanted.items()):
        return None
    try:
        values, _ = complete(values, raw["origins"], run.job)  # an earlier runjob made it; 1 ms
    except RunjobError:
        return None
    return values if felt(values) == wanted else None


def same_machine(run: RunDir, values: Mapping[str, Any], asked: Asked) -> bool:
    """Given to the same launcher, whose block says the same of where."""
    if known_launcher(run) != asked.launcher:
        return False
    if asked.launcher not in PLACES:
        return True
    blocks = [one["hardware"][asked.launcher] for one in (values, asked.values)]
    names = PLACES[asked.launcher]
    return None not in blocks and all(blocks[0][name] == blocks[1][name] for name in names)


def measured(run: RunDir, values: Mapping[str, Any], asked: Asked) -> Pace | None:
    """Of its newest attempt, if that has come so far, and computed where the job would."""
    records = last_records(run.events)
    attempts = run.list_attempts()
    if not records or not attempts or records[0]["attempt"] != attempts[-1].number:
        return None  # the last attempt is young, and job.json is already its own
    start = records[0]
    took = [asked.plan.batch.global_batch / one["samples_per_s"] for one in records if one["event"] == "train"][1:]
    if len(took) < FEWEST or not all(math.isfinite(one) and one > 0 for one in took) or not same_place(start, asked):
        return None
    return Pace(
        run=run.id,
        seconds=median(took),
        steps=len(took),
        ranks=start["ranks"],
        threads=start["threads"],
        device=start["device_name"],
        evaluation_s=evaluation_seconds(records) if same_evaluation(values, asked.values) else None,
    )


def last_records(events: Path) -> list[Record]:
    """The `start` of the newest attempt and the end of what came after it; nothing where there is none."""
    try:
        with events.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            begins = content.rfind(b'{"event": "start"')
            if begins < 0:
                return []
            follows = content.find(b"\n", begins) + 1
            first = content[begins:follows]
            tail = content[max(follows, len(content) - TAIL_BYTES) :]
    except (OSError, ValueError):  # not there; an empty file can't be mapped
        return []
    records = [parse_event(line) for line in (first, *tail.splitlines())]
    # a tail may begin within a line, and end in one that is being written
    return [record for record in records if record is not None] if records[0] is not None else []


def same_place(start: Record, asked: Asked) -> bool:
    """Elsewhere, where nobody is asked, equal values of `hardware` must do."""
    if asked.device is None:
        return True
    resources = asked.plan.resources
    built = start["kernels"] != "fused" or resources.device != "cpu" or kernel_compiler() is not None
    now = (asked.device, asked.plan.batch.ranks, resources.threads)
    return built and now == (start["device_name"], start["ranks"], start["threads"])


def same_evaluation(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """On the same rows, in the same pieces."""
    sides = [
        ({name: one for name, one in values["evaluation"].items() if name not in UNFELT_BY_EVALUATION}, values["data"])
        for values in (old, new)
    ]
    return sides[0] == sides[1]


def median(values: list[float]) -> float:
    import statistics  # 5 ms that most plans do without

    return statistics.median(values)


def evaluation_seconds(records: list[Record]) -> float | None:
    """Of those whose step has a record too, from that on: nothing else of the time in between takes any."""
    trained = {record["step"]: float(record["time"]) for record in records if record["event"] == "train"}
    took = [
        float(record["time"]) - trained[record["step"]]
        for record in records
        if record["event"] == "eval" and record["step"] in trained
    ]
    return median(took) if took else None
