"""Rules about vectors of texts: where their two texts come from, what stays together, and what goes with them."""

from collections.abc import Iterator

from runjob.schemas.label_rules import EMBEDDED, OF_TEXT
from runjob.schemas.values import Values

# (path, message)
Findings = Iterator[tuple[str, str]]

# Of a text's own target among all of the side; higher is better
OF_RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg_at_10")


def two_texts_come_from_somewhere(job: Values) -> Findings:
    kind, objective = job["data.kind"], job["objective.kind"]
    if objective not in EMBEDDED:
        return
    if kind != "jsonl":
        said = f"{objective} learns from two texts a row, which {kind} does not have; write `kind: jsonl` with"
        yield "data.kind", f"{said} `field: anchor`, `target: positive`"
    elif job["data.target"] is None:
        said = "missing; write the key that holds the text which belongs to that of data.field"
        yield "data.target", f"{said}, for example `target: positive`"
    elif job["data.target"] == job["data.field"]:
        yield "data.target", "is data.field; a text with itself teaches nothing; write the key of the other text"


def two_texts_stay_together(job: Values) -> Findings:
    """On one side, each in one row."""
    objective = job["objective.kind"]
    if objective not in EMBEDDED:
        return
    if job["data.long_documents"] != "truncate":
        said = f"{objective} reads one row of each text, as whoever asks the finished model will"
        yield "data.long_documents", f"{said}; write `long_documents: truncate`"
    if job["data.split.kind"] == "first":
        said = "`first` counts texts, and would part the two of a row"
        yield "data.split.kind", f"{said}; write hash or files"


def groups_divide_the_batch(job: Values) -> Findings:
    group = job["objective.group"]
    if job["training.micro_tokens"] is not None:
        said = "a group is computed together, however long its texts are; write micro_batch"
        yield "training.micro_tokens", f"{said}, a multiple of objective.group {group}"
    for path in ("training.global_batch", "training.micro_batch", "evaluation.micro_batch"):
        size = job[path]
        if size is not None and size % group:
            below = size // group * group
            works = f"{below} and {below + group} are" if below else f"{group} is"
            yield path, f"{size} is not a multiple of objective.group {group}, which is computed together; {works}"


def metrics_fit_the_vectors(job: Values) -> Findings:
    objective = job["objective.kind"]
    for path, metric in job.watched():
        if objective in EMBEDDED and metric in OF_TEXT:
            yield path, f"{metric} is of predicted text, and {objective} predicts vectors; write `recall_at_10`"
        if objective not in EMBEDDED and metric in OF_RETRIEVAL:
            said = f"{metric} is of texts that are found by their vectors, and {objective} makes none"
            yield path, f"{said}; write `loss`"


EMBEDDING_RULES = (
    two_texts_come_from_somewhere,
    two_texts_stay_together,
    groups_divide_the_batch,
    metrics_fit_the_vectors,
)
