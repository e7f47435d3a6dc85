"""Pairs of spans, one a row: what a model is asked that tells how two names of a text are related.

    text    Olenellus of the lower Cambrian         spans  (0, 9, TAXON) (23, 31, TIME)    relations  (0, 1, OCCURS_IN)
    pair    [E1] Olenellus [/E1] of the lower [E2] Cambrian [/E2]                           OCCURS_IN
    pair    [E2] Olenellus [/E2] of the lower [E1] Cambrian [/E1]                           NO_RELATION

The marks are tokens of their own (Baldini Soares et al. 2019, section 3.2: entity markers): E1 is around the head, E2
around the tail. Both orders are asked where their types may be related. A pair is a document with one label, which
stands at its EOS (data/labels.py). All pairs of a text are on the side where the text would be.

A relation between two spans that are no candidates is not learnt, and nobody is asked about it.
"""

import hashlib
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from runjob.data.fields import kind_of, read_object, text_in, without_field
from runjob.data.labels import Labelled, Span
from runjob.data.spans import Read, read_spans
from runjob.schemas.job_model import RelationClassification
from runjob.schemas.tags import UNRELATED

# Around the first of a pair, around the second
MARKS = (("[E1]", "[/E1]"), ("[E2]", "[/E2]"))
MARKERS = tuple(mark for pair in MARKS for mark in pair)
KEYS = ("head", "tail", "label")


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Classes of a pair by number, as the head has them: NO_RELATION is 0, then the labels of the job."""

    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """
        >>> Relations(labels=("OCCURS_IN", "PART_OF")).names
        ('NO_RELATION', 'OCCURS_IN', 'PART_OF')
        """
        return (UNRELATED, *self.labels)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Of a head that reads the state at [E1] and the one at [E2], each apart, and adds up what it says of both.

        >>> Relations(labels=("PART_OF",)).outputs
        ('E1:NO_RELATION', 'E1:PART_OF', 'E2:NO_RELATION', 'E2:PART_OF')
        """
        return tuple(f"{mark.strip('[]')}:{name}" for mark, _ in MARKS for name in self.names)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What a job asks of pairs: where spans and relations stand, which relations there are, and which pairs are asked
    about. `no_relation` of those without a relation stay on the training side, drawn by `seed`."""

    field: str
    relations: str
    labels: tuple[str, ...]
    types: tuple[str, ...] | None
    max_distance: int | None
    no_relation: float
    seed: int

    @staticmethod
    def of(objective: RelationClassification, *, target: str, relations: str, seed: int) -> "Pairing":
        pairs = objective.pairs
        return Pairing(
            field=target,
            relations=relations,
            labels=objective.labels,
            types=pairs.types,
            max_distance=pairs.max_distance,
            no_relation=pairs.no_relation,
            seed=seed,
        )

    @property
    def tags(self) -> Relations:
        return Relations(labels=self.labels)

    def asks(self, head: Span, tail: Span) -> bool:
        """Is this pair, in this order, a candidate? Its distance is counted from the end of one to the other."""
        if self.types is not None and f"{head.label}>{tail.label}" not in self.types:
            return False
        between = max(head.begin, tail.begin) - min(head.end, tail.end)
        return self.max_distance is None or between <= self.max_distance


def pair_reader(field: str, pairing: Pairing) -> Read:
    """A reader of all pairs of the text at `field` of a JSON object."""

    def read(data: bytes) -> list[Labelled]:
        row = read_object(data, field)
        return list(read_pairs(row, text_in(row, field), pairing))

    return read


def read_pairs(row: dict[str, Any], text: str, pairing: Pairing) -> Iterator[Labelled]:
    """The pairs of a row that a job asks about, in the order of heads, then of tails; ValueError for a row that can't
    be read."""
    refuse_marks(text)
    spans = read_spans(row, pairing.field, text, labels=None)
    related = _relations(row, pairing, count=len(spans))
    for head, first in enumerate(spans):
        for tail, second in enumerate(spans):
            if head != tail and pairing.asks(first, second):
                number = related.get((head, tail), 0)
                marked = mark_pair(text, first, second)
                spare = number == 0 and not kept(marked, share=pairing.no_relation, seed=pairing.seed)
                yield Labelled(text=marked, spans=(), number=number, whole=text, spare=spare)


def refuse_marks(text: str) -> None:
    """ValueError for a text that holds a mark itself."""
    # in wide letters too, of which data.normalize may make the mark
    seen = text + unicodedata.normalize("NFKC", text)
    if mark := next((mark for mark in MARKERS if mark in seen), None):
        raise ValueError(f"its text holds {mark}, which marks the spans of a pair; write it otherwise there")


def mark_pair(text: str, head: Span, tail: Span) -> str:
    """
    >>> mark_pair("teeth of a shark", Span(begin=0, end=5, label="A"), Span(begin=11, end=16, label="B"))
    '[E1] teeth [/E1] of a [E2] shark [/E2]'
    """
    for span, (opening, closing) in sorted(zip((head, tail), MARKS, strict=True), key=lambda one: -one[0].begin):
        inside = text[span.begin : span.end]
        text = f"{text[: span.begin]}{opening} {inside} {closing}{text[span.end :]}"
    return text


def kept(pair: str, *, share: float, seed: int) -> bool:
    """Whether training keeps a pair without a relation: of the seed and the marked text alone."""
    key = hashlib.blake2b(f"runjob pairs {seed}".encode(), digest_size=32).digest()
    value = int.from_bytes(hashlib.blake2b(pair.encode(), digest_size=8, key=key).digest(), "little")
    return value < math.ceil(Fraction(str(share)) * 2**64)


def _relations(row: dict[str, Any], pairing: Pairing, *, count: int) -> dict[tuple[int, int], int]:
    """The number of the class of each pair of spans that has one; spans are counted as the row counts them."""
    if (said := without_field(row, pairing.relations)) is not None:
        raise ValueError(said)
    listed = row[pairing.relations]
    if not isinstance(listed, list):
        raise ValueError(f"field {pairing.relations!r} is {kind_of(listed)} and not a list of relations")
    found: dict[tuple[int, int], int] = {}
    for number, one in enumerate(listed):
        where = f"{pairing.relations}[{number}]"
        pair, label = _relation(one, where, count)
        if label not in pairing.labels:
            raise ValueError(f"{where}: {label!r} is none of objective.labels: {', '.join(pairing.labels)}")
        if pair in found:
            raise ValueError(f"{where}: spans {pair[0]} and {pair[1]} are related already; a pair has one relation")
        found[pair] = 1 + pairing.labels.index(label)
    return found


def _relation(one: object, where: str, count: int) -> tuple[tuple[int, int], str]:
    if not isinstance(one, dict):
        raise ValueError(f"{where} is {kind_of(one)} and not a relation {{'head': 0, 'tail': 2, 'label': ...}}")
    for key in KEYS:
        if (said := without_field(one, key)) is not None:
            raise ValueError(f"{where} {said}")
    head, tail, label = (one[key] for key in KEYS)
    for key, value in (("head", head), ("tail", tail)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
            raise ValueError(f"{where}.{key} is {value!r} and not the number of one of {count} spans, from 0")
    if head == tail:
        raise ValueError(f"{where}: span {head} is related to itself")
    if not isinstance(label, str):
        raise ValueError(f"{where}.label is {kind_of(label)} and not a string")
    return (head, tail), label
