"""From the data section of a job to a store, once: source -> split -> (train the tokenizer) -> tokenise -> write.

    <cache>/stores/<fingerprint>/            a finished store, named by what it was made from
    <cache>/stores/.building-<fingerprint>/  one being made; renamed when complete, so no half-written one is found
    <cache>/stores/<fingerprint>.lock        held while it is made; who comes second waits and then uses it

The fingerprint covers the corpus' bytes and every setting that decides a token of the store. The sequence length is
none of them (rows are views), nor is anything about this machine. Documents stand in the store in the order of the
source, whatever the size of the batches that they are tokenised in and however many cores do it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.build import Build
from runjob.data.corpus import open_corpus
from runjob.data.digests import DigestCache
from runjob.data.locks import only_one
from runjob.data.progress import Progress as Progress
from runjob.data.progress import Reporter
from runjob.data.selection import Selection
from runjob.data.store import FORMAT, Store, Summary
from runjob.schemas.job import (
    Data,
    HashSplit,
    HubData,
    JsonlData,
    ParquetData,
    PretrainedTokenizer,
    TextData,
    TrainedTokenizer,
)
from runjob.schemas.quantities import parse_count

# Of text handed to the tokenizer at once: enough to keep many cores busy, little enough for any machine's memory.
BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class PreparedStore:
    """`built` is False where the store was there already."""

    path: Path
    fingerprint: str
    built: bool
    summary: Summary


def prepare(
    data: Data,
    *,
    seed: int,
    cache: Path,
    report: Callable[[Progress], None],
    batch_characters: int = BATCH_CHARACTERS,
) -> PreparedStore:
    """Find the store of these data, or build it."""
    match data.tokenizer:
        case PretrainedTokenizer():
            tokenizer, vocab_size = tokenizers.load_pretrained(data.tokenizer), 0
        case TrainedTokenizer():
            tokenizer, vocab_size = None, data.tokenizer.vocab_size
    source = open_corpus(data)
    reporter = Reporter(report, source)
    reporter.begin("reading")
    digests = DigestCache(cache / "digests.json")
    corpus = source.digest(digests)
    origin = _describe(data, seed=seed, corpus=corpus, tokenizer=tokenizer)
    fingerprint = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    path = cache / "stores" / fingerprint
    found = path.exists()
    if not found:
        with only_one(path.with_suffix(".lock"), waiting=reporter.waiting):
            found = path.exists()  # made by the process that we waited for
            if not found:
                Build(
                    selection=Selection(source, min_length=data.min_length, filter=data.filter),
                    unchanged=lambda: source.digest(digests) == corpus,
                    split=data.split,
                    deduplicate=data.deduplicate,
                    token_budget=None if data.token_budget is None else parse_count(data.token_budget),
                    seed=seed,
                    tokenizer=tokenizer,
                    vocab_size=vocab_size,
                    reporter=reporter,
                    batch_characters=batch_characters,
                ).write(path, fingerprint=fingerprint, origin=origin)
    store = Store.open(path)
    reporter.begin("done")
    return PreparedStore(path=path, fingerprint=fingerprint, built=not found, summary=store.summary)


def _describe(data: Data, *, seed: int, corpus: str, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Everything that decides a token of the store, as JSON."""
    match data:
        case TextData():
            cut = {"kind": "text", "documents": data.documents}
        case JsonlData() | ParquetData() | HubData():
            cut = {"kind": str(data.kind), "field": data.field}
    kept = {"min_length": data.min_length, "filter": dataclasses.asdict(data.filter)}
    kept["deduplicate"] = data.deduplicate
    budget = None if data.token_budget is None else parse_count(data.token_budget)
    described = dataclasses.asdict(data.tokenizer)
    if isinstance(data.tokenizer, PretrainedTokenizer):  # by what it does and not by what it is called
        described = {"kind": "pretrained", "fingerprint": tokenizers.fingerprint(tokenizer)}
    split = dataclasses.asdict(data.split)
    if isinstance(data.split, HashSplit):
        split["seed"] = seed
    return {
        "format": FORMAT,
        "corpus": corpus,
        **cut,
        **kept,
        "token_budget": budget,
        "tokenizer": described,
        "split": split,
    }
