"""Numbers about a prepared store: lengths, tokens a word, copies, shares of its sources, a sample. One pass over each
side's tokens and document borders, a chunk at a time, so memory doesn't grow with the corpus."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runjob.data import tokenizers
from runjob.data.corpus import names_of
from runjob.data.duplicates import find_copies
from runjob.data.labelling import labelled_documents
from runjob.data.order import Order
from runjob.data.rows import open_rows
from runjob.data.store import Side, SideName, SideSummary, Store
from runjob.schemas.data_rules import cycle_of
from runjob.schemas.job import Job
from runjob.schemas.job_data import Data, MixData
from runjob.schemas.statistics import Bucket, Lengths, SideStatistics, SourceStatistics, Statistics

Counts = npt.NDArray[np.int64]

SAMPLE = 3
SAMPLE_TOKENS = 120


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """`documents` and `tokens` that are looked at together. Lengths are counted one by one up to `counted`; beyond, a
    document counts as that long for percentiles."""

    documents: int
    tokens: int
    counted: int


# 8 MB of borders, 64 MB of tokens, 8 MB of counters
ORDINARY = Sizes(documents=2**20, tokens=2**24, counted=2**20)


@dataclass(frozen=True, kw_only=True)
class Again:
    """Documents of a side that stood before (schemas/statistics.py)."""

    copies: int
    contradicting: int | None


def measure_store(store: Store, job: Job, *, scratch: Path, sizes: Sizes = ORDINARY) -> Statistics:
    """Statistics of every side that has documents; `scratch` is a folder that is made where memory isn't enough."""
    tokenizer = tokenizers.load_saved(store.tokenizer)
    sides: dict[SideName, Side | None] = {"train": store.train, "validation": store.validation, "test": store.test}
    found = {name: side for name, side in sides.items() if side is not None and side.summary.documents}
    ids = {name: _count_ids(side, store.summary.tokenizer.vocab_size, sizes.tokens) for name, side in found.items()}
    again = _count_copies(found, labelled_documents(job), scratch=scratch)
    measured: dict[str, SideStatistics] = {}
    for name, side in found.items():
        unknown = 0 if tokenizer.unk_token_id is None else int(ids[name][tokenizer.unk_token_id])
        measured[name] = _measure(
            side, job.data, unknown=unknown, again=again[name], trained=name == "train", sizes=sizes
        )
    return Statistics(
        store=str(store.path),
        sides=measured,
        left_out=dataclasses.asdict(store.summary.left_out),
        vocabulary=store.summary.tokenizer.vocab_size,
        vocabulary_used=int(np.count_nonzero(ids["train"])) if "train" in ids else 0,
        documents=_sample_documents(store.train, tokenizer, seed=job.seed),
        row=_sample_row(store.train, job, tokenizer),
    )


def _measure(side: Side, data: Data, *, unknown: int, again: Again, trained: bool, sizes: Sizes) -> SideStatistics:
    summary = side.summary
    tokens = summary.predicted - summary.documents
    return SideStatistics(
        documents=summary.documents,
        tokens=tokens,
        bytes=summary.bytes,
        words=summary.words,
        tokens_per_word=tokens / summary.words if summary.words else 0.0,
        bytes_per_token=summary.bytes / tokens if tokens else 0.0,
        unknown=unknown,
        copies=again.copies,
        contradicting=again.contradicting,
        lengths=_lengths(side, sizes),
        sources=_sources(summary, data, trained=trained),
    )


def _lengths(side: Side, sizes: Sizes) -> Lengths:
    counts = np.zeros(sizes.counted + 1, dtype=np.int64)
    longest = total = 0
    for first in range(0, side.summary.documents, sizes.documents):
        lengths = np.diff(side.offsets[first : first + sizes.documents + 1]) - 1
        longest, total = max(longest, int(lengths.max())), total + int(lengths.sum())
        counts += np.bincount(np.minimum(lengths, sizes.counted), minlength=sizes.counted + 1)
    below = np.cumsum(counts)
    return Lengths(
        mean=total / side.summary.documents,
        median=int(np.searchsorted(below, 0.5 * below[-1])),
        percentile_95=int(np.searchsorted(below, 0.95 * below[-1])),
        longest=longest,
        histogram=_histogram(counts, longest),
    )


def _histogram(counts: Counts, longest: int) -> tuple[Bucket, ...]:
    """Buckets twice as wide as the one before, from the first that holds a document to the last."""
    edges = [0, 1]
    while edges[-1] <= min(longest, len(counts) - 1):
        edges.append(2 * edges[-1])
    held = [(low, high - 1, int(counts[low:high].sum())) for low, high in itertools.pairwise(edges)]
    buckets = [Bucket(least=low, most=high, documents=documents) for low, high, documents in held]
    buckets[-1] = dataclasses.replace(buckets[-1], most=max(buckets[-1].most, longest))
    return tuple(itertools.dropwhile(lambda bucket: not bucket.documents, buckets))


def _count_ids(side: Side, vocabulary: int, at_once: int) -> Counts:
    """How often each id occurs, the ends of documents among them."""
    counts = np.zeros(vocabulary, dtype=np.int64)
    for first in range(0, side.summary.tokens, at_once):
        counts += np.bincount(side.read(first, first + at_once), minlength=vocabulary)
    return counts


def _count_copies(sides: Mapping[SideName, Side], labelled: bool, *, scratch: Path) -> dict[SideName, Again]:
    """Of every side. What stood before, and not with this label, stood there with others."""
    copies = find_copies(_contents(sides.values(), labelled=False), scratch=scratch)
    alike = find_copies(_contents(sides.values(), labelled=True), scratch=scratch) if labelled else None
    counted, first = {}, 0
    for name, side in sides.items():
        copied = [number for number in range(first, first + side.summary.documents) if number in copies]
        contradicting = None if alike is None else sum(number not in alike for number in copied)
        counted[name] = Again(copies=len(copied), contradicting=contradicting)
        first += side.summary.documents
    return counted


def _contents(sides: Iterable[Side], *, labelled: bool) -> Iterator[str]:
    """What each document is told apart by: its tokens, each byte of them as one character, and its label."""
    for side in sides:
        for number in range(side.summary.documents):
            eos = int(side.offsets[number + 1]) - 1
            label = side.read_labels(eos, eos + 1).tobytes() if labelled else b""
            yield (side.document(number).tobytes() + label).decode("latin-1")


def _sources(summary: SideSummary, data: Data, *, trained: bool) -> tuple[SourceStatistics, ...]:
    weights = cycle_of([source.weight for source in data.sources]) if isinstance(data, MixData) else (1,)
    tokens = [section.predicted - section.documents for section in summary.sections]
    return tuple(
        SourceStatistics(
            name=name,
            documents=section.documents,
            tokens=tokens[number],
            bytes=section.bytes,
            token_share=tokens[number] / max(sum(tokens), 1),
            byte_share=section.bytes / max(summary.bytes, 1),
            training_share=weights[number] / sum(weights) if trained else None,
        )
        for number, (name, section) in enumerate(zip(names_of(data), summary.sections, strict=False))
    )


def _sample_documents(side: Side, tokenizer: Any, *, seed: int) -> tuple[str, ...]:  # noqa: ANN401
    """The beginnings of a few documents, drawn by the seed."""
    documents = side.summary.documents
    if not documents:
        return ()
    drawn = Order(documents, seed).rows_at(0, min(SAMPLE, documents)).tolist()
    return tuple(str(tokenizer.decode(side.document(number)[:SAMPLE_TOKENS])) for number in drawn)


def _sample_row(side: Side, job: Job, tokenizer: Any) -> str | None:  # noqa: ANN401
    """The first row of an epoch, ends of documents shown."""
    if not side.summary.documents:
        return None
    rows = open_rows(side, job.data)
    return str(tokenizer.decode(rows.row(Order(len(rows), job.seed).row_at(0), position=None).input_ids))
