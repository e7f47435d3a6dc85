"""What `runjob prepare FILE --stats` tells of prepared data: computed by a process of the worker's, printed by the
control side, which imports no numpy for it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Documents of `least` to `most` tokens."""

    least: int
    most: int
    documents: int


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of a document, its end not counted; `percentile_95`: as many have at most that."""

    mean: float
    median: int
    percentile_95: int
    longest: int
    histogram: tuple[Bucket, ...]


@dataclass(frozen=True, kw_only=True)
class SourceStatistics:
    """`training_share`: of the rows that training draws; the other shares are those of the side."""

    name: str
    documents: int
    tokens: int
    bytes: int
    token_share: float
    byte_share: float
    training_share: float | None


@dataclass(frozen=True, kw_only=True)
class SideStatistics:
    """`tokens` without the documents' ends. `copies`: documents that stood before, in this side or in one above it
    (train, validation, test); `contradicting`: those of them that stood there with other labels alone, None where a
    document has no label. `unknown` tokens: of the tokenizer's [UNK] or the like."""

    documents: int
    tokens: int
    bytes: int
    words: int
    tokens_per_word: float
    bytes_per_token: float
    unknown: int
    copies: int
    contradicting: int | None
    lengths: Lengths
    sources: tuple[SourceStatistics, ...]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """`vocabulary_used`: ids that occur in training. `documents` and `row` are a sample, as the tokenizer reads it."""

    store: str
    sides: Mapping[str, SideStatistics]
    left_out: Mapping[str, int]
    vocabulary: int
    vocabulary_used: int
    documents: tuple[str, ...]
    row: str | None

    @staticmethod
    def from_json(raw: Any) -> "Statistics":  # noqa: ANN401 - any JSON value
        return Statistics(
            **{
                **raw,
                "sides": {name: _side(side) for name, side in raw["sides"].items()},
                "documents": tuple(raw["documents"]),
            }
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _side(raw: Any) -> SideStatistics:  # noqa: ANN401 - any JSON value
    lengths = raw["lengths"]
    buckets = tuple(Bucket(**bucket) for bucket in lengths["histogram"])
    sources = tuple(SourceStatistics(**source) for source in raw["sources"])
    return SideStatistics(**{**raw, "lengths": Lengths(**{**lengths, "histogram": buckets}), "sources": sources})
