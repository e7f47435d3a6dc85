"""Several runs side by side: a row a run, with what differs between them alone and how well each did."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.runner.history import COMMON, History
from runjob.runner.run_facts import Seen, job_facts
from runjob.runner.runs import planned_steps, read_progress
from runjob.runner.text import did_you_mean
from runjob.schemas.direction import best_of
from runjob.schemas.errors import JobError
from runjob.schemas.group import GroupDir, find_jobs
from runjob.schemas.job_json import read_job_json
from runjob.schemas.run import RunDir, created_at, run_ids


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric over a run: at its last evaluation, at its best one after the first step, and which step that was."""

    last: float | None
    best: float | None
    best_step: int | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """`varying`: the job's values but `name` that are not the same in all of the runs, by path; a path that a run's job
    lacks is not among them. `tokens`: None where no record counts them. `data`: the fingerprint of what it was trained
    and measured on, None before it began."""

    id: str
    state: str
    step: int
    steps: int | None
    tokens: int | None
    varying: dict[str, Any]
    metrics: dict[str, Measured]
    tokens_per_s: float | None
    seconds: float
    data: str | None


# Fields that many sections have
OF_MANY = ("every", "kind", "path", "metric", "revision")
ON_OTHER_DATA = "their data differ, and with them what they were measured on: the metrics don't compare"


def on_other_data(rows: Sequence[Row]) -> bool:
    return len({row.data for row in rows if row.data is not None}) > 1


def short_names(paths: Sequence[str]) -> list[str]:
    """The last word of a path where no other one ends so, two of those that say nothing alone.

    >>> short_names(["seed", "training.learning_rate", "training.checkpoint.every", "model.kind", "data.kind"])
    ['seed', 'learning_rate', 'checkpoint.every', 'model.kind', 'data.kind']
    """
    last = [".".join(path.split(".")[-1 - (path.rpartition(".")[2] in OF_MANY) :]) for path in paths]
    return [word if last.count(word) == 1 else path for word, path in zip(last, paths, strict=True)]


def find_runs(home: Path, words: Sequence[str]) -> list[RunDir]:
    """Those that the words name, each once: a run as everywhere, a group for its cells, or a job's name for all its
    runs, oldest first."""
    ids = run_ids(home)
    found: dict[str, RunDir] = {}
    for word in words:
        named = sorted((one for one in ids if one.rpartition("-")[0] == word), key=lambda one: created_at(home / one))
        meant = None if named else find_jobs(home, word)
        runs = meant.runs() if isinstance(meant, GroupDir) else [RunDir(home / one) for one in named]
        runs += [meant] if isinstance(meant, RunDir) else []
        found |= {run.id: run for run in runs}
    return list(found.values())


def compare_runs(seen: Sequence[Seen], metrics: Sequence[str]) -> list[Row]:
    """A row a run, in their order; of the metrics asked for, else of those that the jobs go by. JobError for one that
    no run has measured."""
    resolved = [read_job_json(one.run.job) for one in seen]
    jobs = [{path: fact.value for path, fact in job_facts(one).items()} for one in resolved]
    check_metrics([one.history for one in seen], metrics)
    shown = metrics or default_metrics(jobs)
    paths = [path for path in varying_paths(jobs) if path != "name"]  # which stands in the id
    return [
        Row(
            id=one.run.id,
            state=one.status.state,
            step=max((int(record["step"]) for record in one.history.train), default=0),
            steps=planned_steps(one.run, read_progress(one.run)),
            tokens=one.history.tokens_at(one.history.train[-1]) if one.history.train else 0,
            varying={path: job[path] for path in paths if path in job},
            metrics={metric: measured(one.history, metric) for metric in shown},
            tokens_per_s=one.history.tokens_per_s,
            seconds=one.history.seconds,
            data=one.history.newest("start").get("hashes", {}).get("data"),
        )
        for one, job in zip(seen, jobs, strict=True)
    ]


def check_metrics(histories: Sequence[History], metrics: Sequence[str]) -> None:
    known = {name: None for history in histories for record in history.evals for name in record if name not in COMMON}
    for metric in metrics:
        if metric not in known:
            listing = ", ".join(known) or "nothing yet"
            raise JobError(f"--metric {metric}: no run measured it; measured is {listing}{did_you_mean(metric, known)}")


def default_metrics(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """`loss`, which all have, and what a job picks its best step or its end by."""
    named = ("evaluation.best", "evaluation.early_stopping.metric")
    watched = [job[path] for job in jobs for path in named if path in job]
    return list(dict.fromkeys(["loss", *(metric for metric in watched if metric is not None)]))


def varying_paths(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """In the order of the job file."""
    paths = dict.fromkeys(path for job in jobs for path in job)
    return [path for path in paths if any(path not in job or job[path] != jobs[0].get(path) for job in jobs)]


def measured(history: History, metric: str) -> Measured:
    """Untrained weights are measured and never the best, as in training."""
    values = {int(record["step"]): record[metric] for record in history.evals if metric in record}
    numbers = {step: float(value) for step, value in values.items() if isinstance(value, int | float)}
    best = best_of((value for step, value in numbers.items() if step > 0), metric)
    return Measured(
        last=numbers[max(numbers)] if numbers else None,
        best=best,
        best_step=next((step for step, value in numbers.items() if step > 0 and value == best), None),
    )
