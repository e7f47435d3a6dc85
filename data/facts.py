"""Measures a job's batches on its prepared store: rows, tokens, padding, micro batches a step (schemas/facts.py keeps
them for plans)."""

import dataclasses

from runjob.data.cut import Limit, cut_by_length, cut_even
from runjob.data.order import Order
from runjob.data.rows import DocumentRows, Rows, count_tokens, open_rows
from runjob.data.store import Store
from runjob.data.text_pair_rows import TextPairRows
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job, learns_from_pairs, texts_of
from runjob.schemas.job_model import group_of

# Steps whose cut is looked at: the first of an epoch, or all of it
STEPS = 50
# Ranks that a plan may be made for
RANKS = (1, 2, 3, 4, 6, 8, 16, 32, 64)


def measure(job: Job, store: Store, *, padded: bool) -> Facts:
    """Of the training side, in the order of the first epoch (a mixture's as if it were one source). `padded`:
    whether padding is computed."""
    rows, marks = _texts(job, store)
    batch = job.training.global_batch
    group = group_of(job.objective)
    limit = Limit(rows=job.training.micro_batch, tokens=job.training.micro_tokens, padded=padded, group=group)
    order = Order(len(rows), job.seed)
    computed, tokens = 0, 0
    counts: dict[int, list[int]] = {ranks: [] for ranks in RANKS if batch % (ranks * group) == 0}
    for step in range(min(STEPS, max(len(rows) // batch, 1))):
        numbers = order.rows_at(step * batch, batch)
        lengths = rows.lengths(numbers) + marks
        tokens += int(lengths.sum())
        for ranks, found in counts.items():
            if rows.bucketed:
                cut = cut_by_length(lengths, ranks=ranks, limit=limit)
            else:
                cut = cut_even(batch, ranks=ranks, limit=limit, width=job.data.sequence_length)
            found.append(len(cut.bounds) - 1)
            if ranks == 1 and not padded:
                computed += int(lengths.sum())
            elif ranks == 1:
                widest = rows.longest(numbers) if isinstance(rows, TextPairRows) else lengths
                computed += texts_of(job) * sum(
                    len(places) * (int(widest[places].max()) if rows.bucketed else job.data.sequence_length)
                    for places in cut.micro_batches(0)
                )
    return Facts(
        rows=len(rows),
        tokens=count_tokens(rows) + marks * len(rows),
        left_out=rows.pieces.left_out if isinstance(rows, DocumentRows | TextPairRows) else 0,
        padding=1 - tokens / computed,
        micro_batches={str(ranks): (min(found), max(found)) for ranks, found in counts.items()},
    )


def _texts(job: Job, store: Store) -> tuple[Rows, int]:
    """The rows, and how many marks of the tokenizer frame each (masked models: data/masked_rows.py)."""
    if job.objective.kind == "clm":
        return open_rows(store.train, job.data), 0
    tokenizer = store.summary.tokenizer
    marks = sum(mark is not None for mark in (tokenizer.cls_id, tokenizer.sep_id))
    data = dataclasses.replace(job.data, sequence_length=job.data.sequence_length - marks)
    rows = open_rows(store.train, data, eos=False)
    return (TextPairRows(rows, tokenizer), 0) if learns_from_pairs(job) else (rows, marks)
