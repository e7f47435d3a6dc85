"""Rules about vectors of texts: where their two texts come from, what stays together, and what goes with them."""

from collections.abc import Iterator

from runjob.schemas.label_rules import EMBEDDED, OF_TEXT
from runjob.schemas.values import Values

# (path, message)
Findings = Iterator[tuple[str, str]]

# What one loss reads and the other does not
CONTRASTIVE = {
    "temperature": "divides cosines before a softmax, and mse has neither",
    "group": "says which rows are each other's wrong answers, and mse knows none",
}
TAUGHT = ("teacher", "teacher_revision", "teacher_pooling")
# Of a text's own target among all of the side; higher is better
OF_RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg_at_10")


def is_taught(job: Values) -> bool:
    return job["objective.kind"] in EMBEDDED and bool(job["objective.loss"] == "mse")


def has_pairs(job: Values) -> bool:
    return job["data.kind"] == "jsonl" and job["data.target"] is not None


def two_texts_come_from_somewhere(job: Values) -> Findings:
    kind, objective = job["data.kind"], job["objective.kind"]
    if objective not in EMBEDDED or (is_taught(job) and not has_pairs(job)):
        return
    if kind != "jsonl":
        said = f"{objective} learns from two texts a row, which {kind} does not have; write `kind: jsonl` with"
        yield "data.kind", f"{said} `field: anchor`, `target: positive`"
    elif job["data.target"] is None:
        said = "missing; write the key that holds the text which belongs to that of data.field"
        yield "data.target", f"{said}, for example `target: positive`"
    elif job["data.target"] == job["data.field"]:
        yield "data.target", "is data.field; a text with itself teaches nothing; write the key of the other text"


def tags_are_no_text(job: Values) -> Findings:
    if is_taught(job) and job["data.kind"] == "conll":
        said = "a teacher makes vectors of texts, and conll has words with tags"
        yield "data.kind", f"{said}; write `kind: text`, or jsonl with `field:`"


def mse_has_a_teacher(job: Values) -> Findings:
    """And nothing that is contrastive's alone; the other way round as well."""
    if job["objective.kind"] not in EMBEDDED:
        return
    if is_taught(job):
        if job["objective.teacher"] is None:
            said = "missing; mse learns the vectors of a teacher that reads by the job's own tokenizer"
            yield "objective.teacher", f"{said}; write a directory, or `run:NAME@latest`"
        for key, why in CONTRASTIVE.items():
            if job.written(f"objective.{key}"):
                yield f"objective.{key}", f"{why}; delete it, or write `loss: contrastive`"
        return
    for key in TAUGHT:
        if job.written(f"objective.{key}"):
            said = "contrastive learns from pairs of texts, and asks no teacher"
            yield f"objective.{key}", f"{said}; delete it, or write `loss: mse`"


def a_teacher_reads_the_same_tokens(job: Values) -> Findings:
    if is_taught(job) and job["data.tokenizer.kind"] != "pretrained":
        teacher = job["objective.teacher"] or "TEACHER"
        said = "a teacher gets the same ids, so the tokenizer is its own; write {kind: pretrained, path:"
        yield "data.tokenizer.kind", f"{said} {teacher}}}"


def two_texts_stay_together(job: Values) -> Findings:
    """On one side, each in one row."""
    objective = job["objective.kind"]
    if objective not in EMBEDDED:
        return
    if job["data.long_documents"] != "truncate":
        said = f"{objective} reads one row of each text, as whoever asks the finished model will"
        yield "data.long_documents", f"{said}; write `long_documents: truncate`"
    if job["data.split.kind"] == "first" and not (is_taught(job) and not has_pairs(job)):
        said = "`first` counts texts, and would part the two of a row"
        yield "data.split.kind", f"{said}; write hash or files"


def groups_divide_the_batch(job: Values) -> Findings:
    group = job["objective.group"]
    if is_taught(job):  # which asks about each text by itself
        return
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
        if is_taught(job) and metric in OF_RETRIEVAL and not has_pairs(job):
            said = f"{metric} is of texts that look for the one which belongs to them, and a row has one text"
            yield path, f"{said}; write `loss`, or data.target"


EMBEDDING_RULES = (
    two_texts_come_from_somewhere,
    tags_are_no_text,
    mse_has_a_teacher,
    a_teacher_reads_the_same_tokens,
    two_texts_stay_together,
    groups_divide_the_batch,
    metrics_fit_the_vectors,
)
