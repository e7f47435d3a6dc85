"""What the card of a model says that classifies tokens, pairs of spans or documents: its labels, what it learnt from,
how well it tells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runjob.data.labelling import describe_labels
from runjob.data.store import Summary
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.job import Job
from runjob.schemas.job_model import Classification, RelationClassification, SequenceClassification, TokenClassification

ENTITY_METRICS = ("f1", "f1_macro", "precision", "recall", "accuracy")
USE = [
    "```python",
    "from transformers import pipeline",
    "",
    'find = pipeline("token-classification", model="path/to/this/directory", aggregation_strategy="simple")',
    'print(find("..."))',
    "```",
]
# The pipeline knows no L and no U, and would take the parts of a name for several
USE_OF_BILOU = [
    "Its tags are in BILOU, which `aggregation_strategy` of transformers' pipeline does not join: a name is `U`, or",
    "`B`, any number of `I` and `L`, all of one label; else it is none. `runjob extract` reads them so, and finds",
    "each name's place in a raw text. Plain transformers says the tag of each token:",
    "",
    "```python",
    "from transformers import pipeline",
    "",
    'tag = pipeline("token-classification", model="path/to/this/directory")',
    'print([(one["word"], one["entity"]) for one in tag("...")])',
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


USE_OF_DOCUMENTS = [
    "```python",
    "from transformers import pipeline",
    "",
    'tell = pipeline("text-classification", model="path/to/this/directory")',
    'print(tell("..."))',
    "```",
]


ASKED: Mapping[type[Classification], Literal["token", "pair", "document"]] = {
    TokenClassification: "token",
    RelationClassification: "pair",
    SequenceClassification: "document",
}
# What the table counts
HOW = {
    "token": "an entity is right where its first token, its last one and its label are",
    "pair": "pairs without a relation count only where one was said of them",
    "document": "of each class by itself",
}


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """Of a model that classifies `asked`, what one prediction is of. `scheme` where tags say spans; `weights` as the
    job says them, `train` and `validation` how many spans, pairs or documents there are; `longest` of a row."""

    labels: tuple[str, ...]
    asked: Literal["token", "pair", "document"]
    scheme: str | None
    weights: str | None
    train: str
    validation: str
    longest: int

    @property
    def task(self) -> str:
        """As the Hub calls it."""
        return "token-classification" if self.asked == "token" else "text-classification"

    @property
    def use(self) -> list[str]:
        match self.asked:
            case "token":
                return USE_OF_BILOU if self.scheme == "BILOU" else USE
            case "pair":
                return USE_OF_PAIRS
            case "document":
                cut = f"`tell(text, truncation=True, max_length={self.longest})`"
                return [
                    *USE_OF_DOCUMENTS,
                    "",
                    f"One text at a time; of a long one {cut} reads a row.",
                ]


def class_facts(job: Job, summary: Summary) -> ClassFacts | None:
    """None where the job classifies nothing."""
    objective = job.objective
    if not isinstance(objective, Classification):
        return None
    given = objective.class_weights
    weights = given if not isinstance(given, dict) else ", ".join(f"{label} {x:g}" for label, x in given.items())
    return ClassFacts(
        labels=objective.labels,
        asked=ASKED[type(objective)],
        scheme=objective.scheme if isinstance(objective, TokenClassification) else None,
        weights=weights,
        train=describe_labels(job, summary.train) or "",
        validation=describe_labels(job, summary.validation) or "",
        longest=job.data.sequence_length,
    )


def entity_lines(classes: ClassFacts, found: Metrics, evaluated: str) -> list[str]:
    """A table of labels; `evaluated`: when that was, and what else."""
    rows = [(label, f"/{label}") for label in classes.labels]
    rows = rows if classes.asked == "document" else [("all", ""), *rows]
    names = ("precision", "recall", "f1")
    macro = "" if classes.asked == "token" else f" Mean F1 of the classes (macro): {_number(found['f1_macro'])}."
    return [
        f"On the whole validation side, {classes.validation}, {evaluated}; {HOW[classes.asked]}:",
        "",
        "| | precision | recall | F1 |",
        "|---|---|---|---|",
        *[f"| {row} | {' | '.join(_number(found[name + ending]) for name in names)} |" for row, ending in rows],
        "",
        f"Share of {classes.asked}s that are right: {_number(found['accuracy'])}.{macro}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def classified_line(classes: ClassFacts) -> str:
    weights = "" if classes.weights is None else f"; weights in the loss: {classes.weights}"
    tags = "" if classes.scheme is None else f" tags in {classes.scheme},"
    return f"labels {', '.join(classes.labels)},{tags} {classes.train}{weights}"
