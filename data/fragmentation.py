"""How a tokenizer cuts terms: the share that it cuts into several pieces or does not know, alone and within sentences,
the worst of them, and what it makes of a corpus beside the tokenizer that it was extended from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runjob.data.extend import bare_engine

# At the beginning, in the middle and in brackets: a term may be whole in one place and not in another.
SENTENCES = ("{} is what it is called.", "They found the {} in the bed below.", "The older one ({}), is not described.")
TOGETHER = 1000
WORST = 10


@dataclass(frozen=True, kw_only=True)
class Share:
    """Of `terms`, so many are cut alone, and in at least one of the sentences."""

    terms: int
    alone: int
    within: int

    @property
    def worse(self) -> float:
        return max(self.alone, self.within) / self.terms


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A term that is cut, and its pieces where there are most."""

    term: str
    category: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fragmentation:
    """`worst`: those cut into most pieces, in the order of the lists where they are equal."""

    categories: Mapping[str, Share]
    worst: tuple[Cut, ...]

    @property
    def overall(self) -> Share:
        shares = self.categories.values()
        return Share(
            terms=sum(share.terms for share in shares),
            alone=sum(share.alone for share in shares),
            within=sum(share.within for share in shares),
        )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tokens of a corpus, by the tokenizer and by the one before it; terms that stand in it, and how many are cut."""

    documents: int
    tokens: int
    before: int
    occurrences: int
    cut: int


def measure_terms(tokenizer: Any, terms: Mapping[str, Sequence[str]], sentences: Sequence[str]) -> Fragmentation:  # noqa: ANN401
    engine, unknown = bare_engine(tokenizer), tokenizer.unk_token
    categories, cuts = {}, []
    for category, listed in terms.items():
        alone = [_tokens(engine, text) for text in listed]
        within = [max((_within(engine, text, each) for each in sentences), key=len) for text in listed]
        categories[category] = Share(
            terms=len(listed),
            alone=sum(_is_cut(pieces, unknown) for pieces in alone),
            within=sum(_is_cut(pieces, unknown) for pieces in within),
        )
        for text, *both in zip(listed, alone, within, strict=True):
            pieces = max(both, key=len)
            if any(_is_cut(each, unknown) for each in both):
                cuts.append(Cut(term=text, category=category, pieces=tuple(pieces)))
    worst = sorted(cuts, key=lambda cut: -len(cut.pieces))[:WORST]
    return Fragmentation(categories=categories, worst=tuple(worst))


def measure_corpus(
    tokenizer: Any,  # noqa: ANN401
    before: Any,  # noqa: ANN401
    terms: Mapping[str, Sequence[str]],
    texts: Iterable[str],
) -> Counts:
    """`before` is the engine of the other tokenizer."""
    engine, unknown = bare_engine(tokenizer), tokenizer.unk_token
    listed = sorted({text for each in terms.values() for text in each}, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, listed))})(?!\w)")
    documents = tokens = tokens_before = occurrences = cut = 0
    found = iter(texts)
    while batch := list(islice(found, TOGETHER)):
        encodings = engine.encode_batch(batch, add_special_tokens=False)
        documents += len(batch)
        tokens += sum(map(len, encodings))
        tokens_before += sum(map(len, before.encode_batch_fast(batch, add_special_tokens=False)))
        for text, encoding in zip(batch, encodings, strict=True):
            for match in pattern.finditer(text):
                occurrences += 1
                cut += _is_cut(_between(encoding, *match.span()), unknown)
    return Counts(documents=documents, tokens=tokens, before=tokens_before, occurrences=occurrences, cut=cut)


def _is_cut(pieces: Sequence[str], unknown: str | None) -> bool:
    return len(pieces) > 1 or unknown in pieces


def _tokens(engine: Any, text: str) -> list[str]:  # noqa: ANN401
    encoding = engine.encode(text, add_special_tokens=False)
    return [engine.id_to_token(id_) for id_ in encoding.ids]


def _within(engine: Any, text: str, sentence: str) -> list[str]:  # noqa: ANN401
    start = sentence.index("{}")
    encoding = engine.encode(sentence.replace("{}", text, 1), add_special_tokens=False)
    return [
        engine.id_to_token(id_)
        for id_, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if begin < start + len(text) and end > start
    ]


def _between(encoding: Any, start: int, stop: int) -> list[str]:  # noqa: ANN401
    first, last = encoding.char_to_token(start), encoding.char_to_token(stop - 1)
    if first is None or last is None:  # taken off by the normaliser
        return []
    return list(encoding.tokens[first : last + 1])
