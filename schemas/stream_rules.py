"""What a stream can't do (`data.streaming: true`): everything that needs to know all documents before the first step;
and what nothing else can. Rules as in rules.py."""

import contextlib
from collections.abc import Iterator

from runjob.schemas.values import Unknown, Values

Findings = Iterator[tuple[str, str]]

AMOUNTS = (
    "training.length",
    "training.log_every",
    "training.checkpoint.every",
    "training.schedule.warmup",
    "training.schedule.decay",
    "evaluation.every",
    "evaluation.early_stopping.patience",
)


def blocks_belong_to_a_stream(job: Values) -> Findings:
    if job["data.kind"] != "hub" or job["data.streaming"]:
        return
    for path in ("data.block_documents", "data.disk_budget"):
        if job.written(path):
            said = "is for streams alone, and this job prepares all of its data first; delete it, or write"
            yield path, f"{said} `streaming: true`"


def copies_are_not_found_in_a_stream(job: Values) -> Findings:
    if job["data.streaming"] and job["data.deduplicate"]:
        why = "finding copies reads all of the corpus before the first step"
        yield "data.deduplicate", f"true can't go with data.streaming ({why}); write false, or streaming: false"


def a_stream_is_split_at_its_beginning(job: Values) -> Findings:
    if job["data.streaming"] and job["data.split.kind"] != "first":
        why = "its validation side is read before training, and only the beginning of a stream is there by then"
        yield "data.split", f"a stream needs the kind first ({why}); write split: {{kind: first, validation: 500}}"


def a_stream_needs_a_tokenizer(job: Values) -> Findings:
    if job["data.streaming"] and job["data.tokenizer.kind"] == "train":
        why = "training one reads all of the corpus before the first step"
        said = f"train can't go with data.streaming ({why}); name one that exists: {{kind: pretrained, path: gpt2}}"
        yield "data.tokenizer.kind", said


def a_stream_has_no_epochs(job: Values) -> Findings:
    if not job["data.streaming"]:
        return
    for path in AMOUNTS:
        with contextlib.suppress(Unknown):
            amount = job.amount(path)
            if amount is not None and amount.unit == "epochs":
                why = "nobody knows how long an epoch of a stream is before its end"
                yield path, f"{amount} ({why}); write steps or tokens"


def a_stream_has_no_baseline(job: Values) -> Findings:
    if job["data.streaming"] and job["evaluation.baseline"] is not None:
        why = "it counts all training tokens before the first step"
        yield "evaluation.baseline", f"{job['evaluation.baseline']} can't go with data.streaming ({why}); write null"


STREAM_RULES = (
    blocks_belong_to_a_stream,
    copies_are_not_found_in_a_stream,
    a_stream_is_split_at_its_beginning,
    a_stream_needs_a_tokenizer,
    a_stream_has_no_epochs,
    a_stream_has_no_baseline,
)
