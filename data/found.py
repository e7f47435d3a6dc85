"""From what a tagger says of each token to entities with their place in the raw text.

    tokens         Ole ##nell ##us of the lower Cambrian          by windows, where a sentence is longer than a row
    tags            B    I     I   O   O    B      I              the likeliest of each, and its probability
    entities       (0, 9, TAXON, 0.98) (17, 31, TIME, 0.71)       read to the letter (data/labels.py)
    in the raw text                                               through the alignment of data/normalize.py

The confidence of an entity is the mean of the probabilities of its tags.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runjob.data.labels import Tags, without_space
from runjob.data.normalize import Aligned

Places = Sequence[tuple[int, int]]
# Confidences are said with so many decimals
DECIMALS = 3
# Sums of another order differ by less in a probability (8e-6 was the most of 12 layers of 768 numbers); what is as near
# to a border or to another tag is asked again alone (runner/worker/extract_models.py)
NOISE = 2e-5
MARGIN = 1e-4


@dataclass(frozen=True, kw_only=True)
class Said:
    """Of each token the number of the likeliest tag, its probability, and by how much the second is less likely."""

    numbers: Sequence[int]
    probabilities: Sequence[float]
    margins: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Characters begin .. end - 1 of the normalised text are an entity; `label` by its number."""

    begin: int
    end: int
    label: int
    confidence: float

    def raw(self, aligned: Aligned) -> tuple[int, int]:
        """Where it begins and ends in the raw text: at the edges of what became its first and its last character."""
        return aligned.spans[self.begin][0], aligned.spans[self.end - 1][1]


def cut_windows(text: str, offsets: Places, *, longest: int) -> list[tuple[int, int]]:
    """(first token, behind the last) of rows of at most `longest` tokens; one where all fit. They begin and end at
    borders of words where there are some, and share at least a quarter of their length.

    >>> cut_windows("a b c d e f g h", [(place, place + 1) for place in range(0, 15, 2)], longest=4)
    [(0, 4), (3, 7), (6, 8)]
    """
    count = len(offsets)
    if count <= longest:
        return [(0, count)]
    begins = [place for place, (begin, _) in enumerate(offsets) if _begins_word(text, begin)]
    borders = frozenset(begins)
    windows, first = [], 0
    while first + longest < count:
        whole = first + longest
        end = next((place for place in range(whole, first + longest // 2, -1) if place in borders), whole)
        windows.append((first, end))
        shared = end - max(1, longest // 4)
        first = next((place for place in range(shared, first, -1) if place in borders), max(first + 1, shared))
    windows.append((first, count))
    return windows


def join_windows(windows: Sequence[tuple[int, int]], said: Sequence[Said]) -> Said:
    """Each token as the window says in which it is furthest from a cut, the first of two; so an entity over a border
    of windows is whole."""
    if len(windows) == 1:
        return said[0]
    count = windows[-1][1]
    chosen, best = [0] * count, [-1.0] * count
    for number, (first, end) in enumerate(windows):
        for place in range(first, end):
            before = math.inf if first == 0 else place - first
            behind = math.inf if end == count else end - 1 - place
            if min(before, behind) > best[place]:
                chosen[place], best[place] = number, min(before, behind)
    at = [(said[number], place - windows[number][0]) for place, number in enumerate(chosen)]
    return Said(
        numbers=[one.numbers[place] for one, place in at],
        probabilities=[one.probabilities[place] for one, place in at],
        margins=[one.margins[place] for one, place in at],
    )


def read_entities(text: str, offsets: Places, said: Said, tags: Tags) -> list[Found]:
    """The entities that these tags say, in order. Tags of white space alone name nothing."""
    found = []
    for first, behind, label in tags.spans(said.numbers):
        edges = [without_space(text, begin, end) for begin, end in offsets[first:behind]]
        solid = [edge for edge in edges if edge[0] < edge[1]]
        if solid:
            mean = math.fsum(said.probabilities[first:behind]) / (behind - first)
            found.append(Found(begin=solid[0][0], end=solid[-1][1], label=label, confidence=mean))
    return found


def is_doubtful(said: Said, found: Sequence[Found]) -> bool:
    """May rounding in other places have changed what is said of this text: a tag, or a confidence as it is written?"""
    near = any(margin < MARGIN for margin in said.margins)
    return near or any(at_border(one.confidence) for one in found)


def at_border(confidence: float) -> bool:
    """
    >>> at_border(0.98750001), at_border(0.988)
    (True, False)
    """
    scaled = confidence * 10.0**DECIMALS
    from_border = abs(scaled - math.floor(scaled) - 0.5)
    return from_border < NOISE * 10.0**DECIMALS


def _begins_word(text: str, begin: int) -> bool:
    return begin == 0 or text[begin - 1].isspace() or (begin < len(text) and text[begin].isspace())
