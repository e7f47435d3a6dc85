"""The corpus of a job: one source, or several in a fixed order, read as one stream of documents.

    most jobs           one part; `split` says of each document which side it is on
    split: files        a part for each side: validation, then test, then train
    kind: mix           a part for each source, in the order of the job; each is a section of the store

The parts for validation and test come before training, so that of two copies (`deduplicate`) the one that stays is
theirs: a copy of a validation document is never trained on.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from runjob.data.digests import DigestCache
from runjob.data.documents import Document, Source
from runjob.data.sources import open_source
from runjob.data.store import SideName
from runjob.schemas.job import Data


@dataclass(frozen=True, kw_only=True)
class Part:
    """`side`: where the job says it of the whole source; `section` is the source's place in a mixture, else 0."""

    source: Source
    side: SideName | None
    section: int


class Corpus:
    """The parts one after another; `done`, `total` and `empty` are those of all of them."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        self.total = sum(part.source.total for part in parts)
        self.done = 0
        self.empty = 0

    @staticmethod
    def of(source: Source) -> "Corpus":
        """A corpus of one source, which `split` divides."""
        return Corpus((Part(source=source, side=None, section=0),))

    def digest(self, cache: DigestCache) -> str:
        """sha256 over every source and the part that it plays; of one source alone its own."""
        digests = [f"{part.side} {part.section} {part.source.digest(cache)}" for part in self.parts]
        return self.parts[0].source.digest(cache) if len(digests) == 1 else _sha256("\n".join(digests))

    def documents(self) -> Iterator[tuple[Part, Document]]:
        done = empty = 0
        for part in self.parts:
            source = part.source
            for document in source.documents():
                self.done, self.empty = done + source.done, empty + source.empty
                yield part, document
            done, empty = done + source.done, empty + source.empty
            self.done, self.empty = done, empty


def open_corpus(data: Data) -> Corpus:
    """Everything that a job's data section names."""
    return Corpus.of(open_source(data))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
