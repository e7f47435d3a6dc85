"""Labels that stand beside the text, as a stream of numbers beside the stream of tokens: one for each of them.

    text      Olenellus of the lower Cambrian            spans  (0, 9, TAXON) (17, 31, TIME)
    tokens    Ole ##nell ##us of the lower Cambrian EOS
    labels    B   I      I    O  O   B     I        -

A token belongs to a span where its characters do; white space at its edges is nobody's (some tokenizers count the space
before a word to it). Every piece of a word has a tag, so that one may ask the model of any text, cut into words or not.
Where a span begins or ends inside of a token no tags say it: it is counted (`unmet`), and of its tokens nothing is
asked, in training as in evaluation. At an EOS stands NONE here; an objective with one label a document writes it there.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from runjob.schemas.job_model import Scheme
from runjob.schemas.tags import NOTHING, PREFIXES

# What stands where nothing is asked; labels are at most 1000 (schemas/objective.schema.json), tags four times as many
NONE = 2**16 - 1
CODE: Literal["H"] = "H"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Characters begin .. end - 1 of a text."""

    begin: int
    end: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text with its spans, in their order; none overlaps another. `lost`: spans that normalising has taken apart. Of
    a document with one label (data/classes.py, data/pairs.py) `number` is its class; of a pair `whole` is the text
    without marks, by which it is put on a side, and a `spare` one is not trained on. Of two texts that belong together
    (data/text_pairs.py) each has the other as `mate`, and `whole` is the second of them for both."""

    text: str
    spans: tuple[Span, ...]
    lost: int = 0
    number: int | None = None
    whole: str | None = None
    spare: bool = False
    mate: str | None = None


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What a job asks of its data: where the labels stand (`field` None: in columns), which there are, and how tags say
    them."""

    field: str | None
    labels: tuple[str, ...]
    scheme: Scheme

    @property
    def tags(self) -> "Tags":
        return Tags(labels=self.labels, scheme=self.scheme)


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Tags by number, as the network's head has them: O is 0, then those of each label in turn."""

    labels: tuple[str, ...]
    scheme: Scheme

    @property
    def names(self) -> tuple[str, ...]:
        """
        >>> Tags(labels=("TAXON", "TIME"), scheme="BIO").names
        ('O', 'B-TAXON', 'I-TAXON', 'B-TIME', 'I-TIME')
        """
        return (NOTHING, *(f"{prefix}-{label}" for label in self.labels for prefix in PREFIXES[self.scheme]))

    def of_span(self, label: str, tokens: int) -> list[int]:
        """
        >>> tags = Tags(labels=("TAXON", "TIME"), scheme="BILOU")
        >>> [[tags.names[number] for number in tags.of_span("TIME", count)] for count in (1, 3)]
        [['U-TIME'], ['B-TIME', 'I-TIME', 'L-TIME']]
        """
        first = 1 + len(PREFIXES[self.scheme]) * self.labels.index(label)
        if self.scheme == "BIO":
            return [first] + [first + 1] * (tokens - 1)
        return [first + 3] if tokens == 1 else [first] + [first + 1] * (tokens - 2) + [first + 2]

    def kinds(self, numbers: Ints) -> Ints:
        """0 for O, 1 for any tag of the first label, and so on."""
        kinds: Ints = (numbers + len(PREFIXES[self.scheme]) - 1) // len(PREFIXES[self.scheme])
        return kinds

    def spans(self, numbers: Sequence[int]) -> list[tuple[int, int, int]]:
        """(first token, behind the last one, number of the label) of every span that these tags say, to the letter:
        what begins with no B or U, and in BILOU what ends with no L, is none. (seqeval's mode `strict`.)

        >>> Tags(labels=("TAXON", "TIME"), scheme="BIO").spans([1, 2, 0, 2, 1, 1, 4])
        [(0, 2, 0), (4, 5, 0), (5, 6, 0)]
        """
        width, found = len(PREFIXES[self.scheme]), []
        begin, open_label = 0, -1
        for place, number in enumerate([*numbers, 0]):
            label, part = divmod(number - 1, width)
            letter = PREFIXES[self.scheme][part] if number else NOTHING
            goes_on = letter in "IL" and label == open_label
            if open_label >= 0 and not goes_on:
                if self.scheme == "BIO":
                    found.append((begin, place, open_label))
                open_label = -1
            if letter == "B":
                begin, open_label = place, label
            elif letter == "U":
                found.append((place, place + 1, label))
            elif letter == "L" and goes_on:
                found.append((begin, place + 1, label))
                open_label = -1
        return found

    def mended(self, numbers: Ints) -> Ints:
        """Of a piece that was cut out of a document: a span that the cut parts is two."""
        if not len(numbers):
            return numbers
        numbers, width = numbers.copy(), len(PREFIXES[self.scheme])
        for place, (from_, to) in ((0, ("IL", "BU")), (-1, ("BI", "UL"))):
            number = int(numbers[place])
            if number in (0, NONE) or (self.scheme == "BIO" and place == -1):
                continue
            letter = PREFIXES[self.scheme][(number - 1) % width]
            if letter in from_:
                new = to[from_.index(letter)]
                numbers[place] = number - (number - 1) % width + PREFIXES[self.scheme].index(new)
        return numbers


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """A tag for each token and what stands at the EOS; `unmet`: how many spans no token boundary meets."""

    numbers: "array[int]"
    spans: int
    unmet: int


def number_document(labelled: Labelled, *, tokens: int) -> Tagged:
    """What labels.bin holds of a document that has one label: at its EOS that one."""
    assert labelled.number is not None, "a rule of the job"
    return Tagged(numbers=array(CODE, [*([NONE] * tokens), labelled.number]), spans=0, unmet=0)


def tag_tokens(labelled: Labelled, offsets: Sequence[tuple[int, int]], tags: Tags) -> Tagged:
    """`offsets` of the tokens in the text, in characters."""
    text = labelled.text
    edges = [without_space(text, begin, end) for begin, end in offsets]
    solid = [number for number, (begin, end) in enumerate(edges) if begin < end]
    numbers, unmet = array(CODE, bytes(2 * len(edges))), labelled.lost
    place = 0
    for span in labelled.spans:
        while place < len(solid) and edges[solid[place]][1] <= span.begin:
            place += 1
        last = place
        while last < len(solid) and edges[solid[last]][0] < span.end:
            last += 1
        mine = solid[place:last]
        met = bool(mine) and (edges[mine[0]][0], edges[mine[-1]][1]) == (span.begin, span.end)
        if not met:
            unmet += 1
            for number in range(mine[0], mine[-1] + 1) if mine else ():
                numbers[number] = NONE
            continue
        first, count = mine[0], mine[-1] + 1 - mine[0]
        numbers[first : first + count] = array(CODE, tags.of_span(span.label, count))
    numbers.append(NONE)
    return Tagged(numbers=numbers, spans=len(labelled.spans) + labelled.lost, unmet=unmet)


def without_space(text: str, begin: int, end: int) -> tuple[int, int]:
    """The same characters of a text without the white space at their edges."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    return begin, end


def carry(spans: Sequence[Span], aligned: Sequence[tuple[int, int]], text: str) -> Labelled:
    """Spans of a raw text in what normalising made of it; `aligned`: of each character of `text`, where in the raw one
    it came from. A span whose edge lies inside of what became one character, or of which nothing is left, is lost."""
    begins, ends = ([place[side] for place in aligned] for side in (0, 1))
    carried, lost = [], 0
    for span in spans:
        # neither ever falls, so a long text costs no more a span than a short one
        first, behind = bisect_right(ends, span.begin), bisect_left(begins, span.end)
        if first < behind and begins[first] == span.begin and ends[behind - 1] == span.end:
            carried.append(Span(begin=first, end=behind, label=span.label))
        else:
            lost += 1
    return Labelled(text=text, spans=tuple(carried), lost=lost)
