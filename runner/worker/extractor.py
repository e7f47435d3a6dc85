"""From raw text to records: sentences, the entities in them, how these are related, and the place of each in the raw
text. Neither how many documents come together nor the size of a batch leaves a trace in a record.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from runjob.data.documents import Document
from runjob.data.found import DECIMALS
from runjob.data.labels import Span
from runjob.data.pairs import mark_pair
from runjob.data.sentences import cut_sentences
from runjob.runner.worker.extract_file import place_of
from runjob.runner.worker.extract_models import Relater, Tagger
from runjob.schemas.extraction import Entity, Extraction, Models, Relation, Stretch
from runjob.schemas.tags import UNRELATED

# Pairs that are marked and cut into tokens at once: some 10 MB. A sentence of 60 names has 3,540.
PAIRS = 4096


@dataclass(kw_only=True)
class Related:
    """Of a sentence, heads and tails counted within it; `unasked` are candidates that no row holds."""

    relations: list[Relation] = field(default_factory=list)
    unasked: int = 0


class Extractor:
    """Documents in, records out; `pairs` are in hand at once."""

    def __init__(self, tagger: Tagger, relater: Relater | None, models: Models, *, pairs: int = PAIRS) -> None:
        self.tagger = tagger
        self.relater = relater
        self.models = models
        self.pairs = pairs

    def extract(self, documents: Sequence[Document], *, first: int) -> list[Extraction]:
        """A record of each of these, whose numbers in the corpus begin with `first`."""
        cuts = [cut_sentences(document.text) for document in documents]
        sentences = [
            document.text[begin:end] for document, cut in zip(documents, cuts, strict=True) for begin, end in cut
        ]
        found = self._entities(sentences)
        related = iter(self._relations(sentences, found))
        entities = iter(found)
        records = []
        for number, (document, cut) in enumerate(zip(documents, cuts, strict=True), first):
            mine: list[Entity] = []
            relations: list[Relation] = []
            unasked = 0
            for begin, _ in cut:
                before = len(mine)
                mine += [_moved(one, begin) for one in next(entities)]
                of_one = next(related)
                relations += [
                    Relation(head=one.head + before, tail=one.tail + before, label=one.label, confidence=one.confidence)
                    for one in of_one.relations
                ]
                unasked += of_one.unasked
            file, line = place_of(document)
            records.append(
                Extraction(
                    document=number,
                    file=file,
                    line=line,
                    sentences=tuple(Stretch(start=begin, end=end) for begin, end in cut),
                    entities=tuple(mine),
                    relations=tuple(relations),
                    unasked=unasked,
                    models=self.models,
                )
            )
        return records

    def _entities(self, sentences: Sequence[str]) -> list[list[Entity]]:
        """By sentence, their places those in the raw sentence."""
        found: list[list[Entity]] = []
        for raw, tagging in zip(sentences, self.tagger.tag(sentences), strict=True):
            found.append([])
            if not tagging.found:
                continue
            aligned = self.tagger.network.normalizer.align(raw)
            assert aligned.text == tagging.text, "both ways of normalising give the same text"
            for one in tagging.found:
                begin, end = one.raw(aligned)
                label = self.tagger.tags.labels[one.label]
                confidence = round(one.confidence, DECIMALS)
                found[-1].append(Entity(start=begin, end=end, text=raw[begin:end], label=label, confidence=confidence))
        return found

    def _relations(self, sentences: Sequence[str], found: Sequence[Sequence[Entity]]) -> list[Related]:
        """By sentence."""
        related = [Related() for _ in sentences]
        if self.relater is None:
            return related
        candidates = self._candidates(self.relater, sentences, found, related)
        while some := list(islice(candidates, self.pairs)):
            verdicts = self.relater.relate([one.marked for one in some])
            for one, verdict in zip(some, verdicts, strict=True):
                if verdict is None:
                    related[one.sentence].unasked += 1
                elif verdict.label != UNRELATED:
                    confidence = round(verdict.confidence, DECIMALS)
                    relation = Relation(head=one.head, tail=one.tail, label=verdict.label, confidence=confidence)
                    related[one.sentence].relations.append(relation)
        return related

    def _candidates(
        self, relater: Relater, sentences: Sequence[str], found: Sequence[Sequence[Entity]], related: Sequence[Related]
    ) -> Iterator["Candidate"]:
        """In the order of heads, then of tails; those that can't be asked about are counted in `related`."""
        for number, entities in enumerate(found):
            text = relater.beginning(sentences[number]) if len(entities) > 1 else ""
            spans = [Span(begin=one.start, end=one.end, label=one.label) for one in entities]
            for head, first in enumerate(spans):
                for tail, second in enumerate(spans):
                    if head == tail or not relater.pairing.asks(first, second):
                        continue
                    # two names that one character of the raw text is part of can't both be marked
                    apart = first.end <= second.begin or second.end <= first.begin
                    if apart and max(first.end, second.end) <= len(text):
                        marked = mark_pair(text, first, second)
                        yield Candidate(sentence=number, head=head, tail=tail, marked=marked)
                    else:
                        related[number].unasked += 1


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Two entities of a sentence, by their numbers in it, and the text in which they are marked."""

    sentence: int
    head: int
    tail: int
    marked: str


def _moved(one: Entity, by: int) -> Entity:
    return Entity(start=one.start + by, end=one.end + by, text=one.text, label=one.label, confidence=one.confidence)


def windows(documents: Iterable[Document], *, sentences: int) -> Iterator[list[Document]]:
    """Neighbouring documents with about so many sentences together, by their length: at least one."""
    gathered: list[Document] = []
    characters = 0
    for document in documents:
        gathered.append(document)
        characters += len(document.text)
        # 100 characters are a sentence, and a document is one at least
        if len(gathered) >= sentences or characters >= 100 * sentences:
            yield gathered
            gathered, characters = [], 0
    if gathered:
        yield gathered
