"""What the card of a model says that classifies tokens: its labels, how many spans it learnt from, how well it finds
entities."""

from dataclasses import dataclass

from runjob.data.labelling import describe_labels
from runjob.data.store import Summary
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.job import Job
from runjob.schemas.job_model import RelationClassification, TokenClassification

ENTITY_METRICS = ("f1", "precision", "recall", "accuracy")
USE = [
    "```python",
    "from transformers import pipeline",
    "",
    'find = pipeline("token-classification", model="path/to/this/directory", aggregation_strategy="simple")',
    'print(find("..."))',
    "```",
]

# What is at [E1] in the first half of the outputs, and at [E2] in the second, is added up (models/pair_classes.py)
USE_OF_PAIRS = [
    "Every pair of spans is asked for itself, marked in the text:",
    "",
    "```python",
    "import torch",
    "from transformers import AutoModelForTokenClassification, AutoTokenizer",
    "",
    'here = "path/to/this/directory"',
    "tokenizer, model = AutoTokenizer.from_pretrained(here), AutoModelForTokenClassification.from_pretrained(here)",
    'inputs = tokenizer("[E1] ... [/E1] ... [E2] ... [/E2] ...", return_tensors="pt")',
    "with torch.no_grad():",
    "    outputs = model(**inputs).logits[0]",
    'marks = tokenizer.convert_tokens_to_ids(["[E1]", "[E2]"])',
    "first, second = map(inputs.input_ids[0].tolist().index, marks)",
    "half = model.config.num_labels // 2",
    "number = int((outputs[first, :half] + outputs[second, half:]).argmax())",
    'print(model.config.id2label[number].removeprefix("E1:"))',
    "```",
]


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """Of a model that classifies tokens, or pairs of spans (`scheme` None); `weights` as the job says them, `train` and
    `validation` how many spans or pairs there are."""

    labels: tuple[str, ...]
    scheme: str | None
    weights: str | None
    train: str
    validation: str

    @property
    def asked(self) -> str:
        """What one prediction is of."""
        return "pair" if self.scheme is None else "token"


def class_facts(job: Job, summary: Summary) -> ClassFacts | None:
    """None where the job classifies no tokens."""
    objective = job.objective
    if not isinstance(objective, TokenClassification | RelationClassification):
        return None
    given = objective.class_weights
    weights = given if not isinstance(given, dict) else ", ".join(f"{label} {x:g}" for label, x in given.items())
    return ClassFacts(
        labels=objective.labels,
        scheme=objective.scheme if isinstance(objective, TokenClassification) else None,
        weights=weights,
        train=describe_labels(job, summary.train) or "",
        validation=describe_labels(job, summary.validation) or "",
    )


def entity_lines(classes: ClassFacts, found: Metrics, evaluated: str) -> list[str]:
    """A table of labels; `evaluated`: when that was, and what else."""
    rows = [("all", ""), *((label, f"/{label}") for label in classes.labels)]
    names = ("precision", "recall", "f1")
    how = "an entity is right where its first token, its last one and its label are"
    if classes.scheme is None:
        how = "pairs without a relation count only where one was said of them"
    return [
        f"On the whole validation side, {classes.validation}, {evaluated}; {how}:",
        "",
        "| | precision | recall | F1 |",
        "|---|---|---|---|",
        *[f"| {row} | {' | '.join(_number(found[name + ending]) for name in names)} |" for row, ending in rows],
        "",
        f"Share of {'pairs' if classes.scheme is None else 'tokens'} that are right: {_number(found['accuracy'])}.",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def classified_line(classes: ClassFacts) -> str:
    weights = "" if classes.weights is None else f"; weights in the loss: {classes.weights}"
    tags = "" if classes.scheme is None else f" tags in {classes.scheme},"
    return f"labels {', '.join(classes.labels)},{tags} {classes.train}{weights}"
