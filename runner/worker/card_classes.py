"""What the card of a model says that classifies tokens: its labels, how many spans it learnt from, how well it finds
entities."""

from dataclasses import dataclass

from runjob.data.labels import describe_labels
from runjob.data.store import Summary
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.job import Job
from runjob.schemas.job_model import TokenClassification

ENTITY_METRICS = ("f1", "precision", "recall", "accuracy")
USE = [
    "```python",
    "from transformers import pipeline",
    "",
    'find = pipeline("token-classification", model="path/to/this/directory", aggregation_strategy="simple")',
    'print(find("..."))',
    "```",
]


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """Of a model that classifies tokens; `weights` as the job says them, `train` and `validation` how many spans there
    are."""

    labels: tuple[str, ...]
    scheme: str
    weights: str | None
    train: str
    validation: str


def class_facts(job: Job, summary: Summary) -> ClassFacts | None:
    """None where the job classifies no tokens."""
    objective = job.objective
    if not isinstance(objective, TokenClassification):
        return None
    given = objective.class_weights
    weights = given if not isinstance(given, dict) else ", ".join(f"{label} {x:g}" for label, x in given.items())
    return ClassFacts(
        labels=objective.labels,
        scheme=objective.scheme,
        weights=weights,
        train=describe_labels(job, summary.train) or "",
        validation=describe_labels(job, summary.validation) or "",
    )


def entity_lines(classes: ClassFacts, found: Metrics, evaluated: str) -> list[str]:
    """A table of labels; `evaluated`: when that was, and what else."""
    rows = [("all", ""), *((label, f"/{label}") for label in classes.labels)]
    names = ("precision", "recall", "f1")
    return [
        f"On the whole validation side, {classes.validation}, {evaluated}; an entity is right where its first token, "
        "its last one and its label are:",
        "",
        "| | precision | recall | F1 |",
        "|---|---|---|---|",
        *[f"| {row} | {' | '.join(_number(found[name + ending]) for name in names)} |" for row, ending in rows],
        "",
        f"Share of tokens with the right tag: {_number(found['accuracy'])}.",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def classified_line(classes: ClassFacts) -> str:
    weights = "" if classes.weights is None else f"; weights in the loss: {classes.weights}"
    return f"labels {', '.join(classes.labels)}, tags in {classes.scheme}, {classes.train}{weights}"
