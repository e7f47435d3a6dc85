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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runjob.data import tokenizers
from runjob.data.beside import Beside
from runjob.data.build import Build
from runjob.data.corpus import alone, open_corpus
from runjob.data.digests import DigestCache
from runjob.data.downloads import Downloads
from runjob.data.locks import only_one
from runjob.data.mixture import refuse_empty_sources
from runjob.data.normalize import describe_normalize, open_normalizer
from runjob.data.pairs import MARKERS, Pairing
from runjob.data.progress import Progress as Progress
from runjob.data.progress import Reporter, fetching
from runjob.data.room import check_room
from runjob.data.selection import Selection
from runjob.data.space import saying_full
from runjob.data.store import FORMAT, Store, Summary
from runjob.data.tokenise import Sizes, Tokenising
from runjob.data.vocabulary import describe, open_extension
from runjob.schemas.job_data import (
    CharacterTokenizer,
    ConllData,
    Data,
    FilesSplit,
    HashSplit,
    HubData,
    JsonlData,
    ParquetData,
    PretrainedTokenizer,
    SingleData,
    SubsetsSplit,
    TextData,
)
from runjob.schemas.quantities import parse_count

# Batches: enough for many cores, and little enough that the library's strings stay in the processor's caches (all lines
# at once take nearly twice the processor time: docs/scale.md). Parts: ten seconds of two cores' work.
SIZES = Sizes(batch=250_000, part=32_000_000)

NOTHING_PINNED: Mapping[str, Any] = MappingProxyType({})


def anything(origin: Mapping[str, Any]) -> None:
    """Whoever prepares for the first time takes what there is."""


@dataclass(frozen=True, kw_only=True)
class PreparedStore:
    """`built` is False where the store was there already. `sources`: which version of what lies elsewhere was used;
    `bad_rows`: the first of those that could not be read, where this process read the corpus."""

    path: Path
    fingerprint: str
    built: bool
    summary: Summary
    sources: Mapping[str, Any]
    bad_rows: tuple[str, ...]


def prepare(
    data: Data,
    *,
    seed: int,
    cache: Path,
    report: Callable[[Progress], None],
    sizes: Sizes = SIZES,
    pinned: Mapping[str, Any] = NOTHING_PINNED,
    admit: Callable[[Mapping[str, Any]], None] = anything,
    whole: bool = False,
    labelling: Beside | None = None,
) -> PreparedStore:
    """Find the store of these data, or build it. `pinned` is the `sources` of an earlier attempt of the same run;
    `admit` hears what the store is made from before it is built, and may raise; `whole`: every byte of a store that is
    found is read here, and not only when it is used; `labelling`: what is read beside the text."""
    extension = open_extension(data.tokenizer, markers=MARKERS if isinstance(labelling, Pairing) else ())
    match data.tokenizer:
        case PretrainedTokenizer() | CharacterTokenizer():
            tokenizer, to_train = tokenizers.open_finished(data.tokenizer), None
        case _:
            tokenizer, to_train = None, data.tokenizer
    downloads = Downloads(cache, report=lambda file: report(fetching(file)), pinned=pinned)
    source = open_corpus(data, downloads=downloads, labelling=labelling)
    reporter = Reporter(report, source)
    reporter.begin("reading")
    digests = DigestCache(cache / "digests.json", told=reporter.read)
    corpus = source.digest(digests)
    reporter.end()
    digests.told = None  # what is looked at later is read again only where it changed
    origin = _describe(data, seed=seed, corpus=corpus, tokenizer=describe(data.tokenizer, tokenizer, extension))
    if labelling is not None:
        origin["labels"] = dataclasses.asdict(labelling)
    admit(origin)
    fingerprint = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    path = cache / "stores" / fingerprint
    found = path.exists()
    if not found:
        with only_one(path.with_suffix(".lock"), waiting=reporter.waiting):
            found = path.exists()  # made by the process that we waited for
            if not found:
                normalizer = open_normalizer(data)
                tokenising = Tokenising(
                    selection=Selection(
                        source,
                        normalize=normalizer,
                        min_length=data.min_length,
                        filter=data.filter,
                        align=normalizer.align,
                    ),
                    unchanged=lambda: source.digest(digests) == corpus,
                    split=data.split,
                    seed=seed,
                    token_budget=None if data.token_budget is None else parse_count(data.token_budget),
                    reporter=reporter,
                    sizes=sizes,
                    tags=None if labelling is None else labelling.tags,
                )
                build = Build(
                    tokenising=tokenising,
                    deduplicate=data.deduplicate,
                    bad_rows=data.bad_rows,
                    tokenizer=tokenizer,
                    to_train=to_train,
                    extension=extension,
                    reporter=reporter,
                )
                check_room(build, path)
                with saying_full(path.parent):
                    build.write(path, fingerprint=fingerprint, origin=origin)
    store = Store.open(path) if not found else open_verified(path, reporter, whole=whole)
    refuse_empty_sources(data, tuple(section.documents for section in store.summary.train.sections))
    reporter.begin("done")
    return PreparedStore(
        path=path,
        fingerprint=fingerprint,
        built=not found,
        summary=store.summary,
        sources=downloads.used,
        bad_rows=() if found else tuple(source.first_bad_rows),
    )


def open_verified(path: Path, reporter: Reporter, *, whole: bool) -> Store:
    """A store that was there already: a disk may have lost some of it since. Its tokens are checked by whoever reads
    them, or here if the `whole` of it is to be read (0.8 s a GiB)."""
    store = Store.open(path)
    reporter.begin("checking", total_bytes=store.size(small=not whole))
    if whole:
        store.verify(told=reporter.read)
    else:
        store.verify_small(told=reporter.read)
    reporter.end()
    return store


def _describe(data: Data, *, seed: int, corpus: str, tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides a token of the store, as JSON."""
    cut = [_cut(source) for source in alone(data)]
    kept = {"min_length": data.min_length, "filter": dataclasses.asdict(data.filter)}
    kept["deduplicate"], kept["bad_rows"] = data.deduplicate, data.bad_rows
    budget = None if data.token_budget is None else parse_count(data.token_budget)
    split = dataclasses.asdict(data.split)
    if isinstance(data.split, FilesSplit | SubsetsSplit):  # by what it holds, which the corpus says, not by name
        split = {"kind": "sides", "test": data.split.test is not None}
    if isinstance(data.split, HashSplit):
        split["seed"] = seed
    return {
        "format": FORMAT,
        "corpus": corpus,
        **(cut[0] if len(cut) == 1 else {"kind": "mix", "sources": cut}),
        **kept,
        **describe_normalize(data.normalize),
        "token_budget": budget,
        "tokenizer": tokenizer,
        "split": split,
    }


def _cut(source: SingleData) -> dict[str, str]:
    """What is one document of a source. (A mixture's weights decide no token: they order the rows of training.)"""
    match source:
        case TextData():
            return {"kind": "text", "documents": source.documents}
        case ConllData():
            return {"kind": "conll"}
        case JsonlData() | ParquetData() | HubData():
            return {"kind": str(source.kind), "field": source.field}
