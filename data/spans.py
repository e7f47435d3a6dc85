"""Texts with spans out of the rows of a file: spans of characters beside the text of a JSON object, and tags in
columns. What is wrong with a row is said in ValueErrors; one of a row of several lines says which of them it is.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from runjob.data.fields import kind_of, read_object, text_in, without_field
from runjob.data.labels import Labelled, Span
from runjob.schemas.tags import NOTHING

# What is read out of the bytes of a row; ValueError says what is wrong with them
Read = Callable[[bytes], str | Labelled | list[Labelled]]
KEYS = ("start", "end", "label")


class BadLine(ValueError):
    """`behind`: how many lines of the row stand before the one that is meant."""

    def __init__(self, behind: int, said: str) -> None:
        super().__init__(said)
        self.behind = behind


def span_reader(field: str, target: str, labels: Collection[str]) -> Read:
    """A reader of the text at `field` and the list of spans at `target` of a JSON object."""

    def read(data: bytes) -> Labelled:
        row = read_object(data, field)
        text = text_in(row, field)
        spans = read_spans(row, target, text, labels)
        return Labelled(text=text, spans=tuple(sorted(spans, key=lambda span: span.begin)))

    return read


def read_spans(row: Mapping[str, Any], target: str, text: str, labels: Collection[str] | None) -> list[Span]:
    """The spans at `target` of a row, in its order; `labels` None takes any. ValueError for what is no span of the
    text, and for two that overlap."""
    if (said := without_field(row, target)) is not None:
        raise ValueError(said)
    listed = row[target]
    if not isinstance(listed, list):
        raise ValueError(f"field {target!r} is {kind_of(listed)} and not a list of spans")
    named = [(f"{target}[{number}]", one) for number, one in enumerate(listed)]
    found = [(where, _span(one, where, text, labels)) for where, one in named]
    _refuse_overlaps(sorted(found, key=lambda pair: (pair[1].begin, pair[1].end)))
    return [span for _, span in found]


def _span(one: object, where: str, text: str, labels: Collection[str] | None) -> Span:
    if not isinstance(one, dict):
        raise ValueError(f"{where} is {kind_of(one)} and not a span {{'start': 3, 'end': 9, 'label': ...}}")
    for key in KEYS:
        if (said := without_field(one, key)) is not None:
            raise ValueError(f"{where} {said}")
    begin, end, label = (one[key] for key in KEYS)
    for key in ("start", "end"):
        if not isinstance(one[key], int) or isinstance(one[key], bool):
            raise ValueError(f"{where}.{key} is {kind_of(one[key])} and not a whole number of characters")
    if not 0 <= begin < end <= len(text):
        raise ValueError(f"{where}: {begin} to {end} is no span of a text of {len(text)} characters")
    if text[begin].isspace() or text[end - 1].isspace():
        raise ValueError(f"{where}: {begin} to {end} ({text[begin:end]!r}) begins or ends with white space")
    _refuse_text(one, where, text[begin:end])
    if not isinstance(label, str):
        raise ValueError(f"{where}.label is {kind_of(label)} and not a string")
    if labels is not None and label not in labels:
        raise ValueError(f"{where}: {label!r} is none of objective.labels: {', '.join(labels)}")
    return Span(begin=begin, end=end, label=label)


def _refuse_text(one: Mapping[str, Any], where: str, there: str) -> None:
    """Where a span repeats its text, counting in bytes or in UTF-16 shows."""
    if "text" in one and one["text"] != there:
        said = f"start and end lead to {there!r}, and its text is {one['text']!r}; they count characters"
        raise ValueError(f"{where}: {said} (code points) from 0")


def _refuse_overlaps(found: Sequence[tuple[str, Span]]) -> None:
    for (before, first), (behind, second) in itertools.pairwise(found):
        if second.begin < first.end:
            said = f"{second.begin} to {second.end} overlaps {before}, {first.begin} to {first.end}"
            raise ValueError(f"{behind}: {said}; a token has one tag")


def column_reader(labels: Collection[str] | None) -> Read:
    """A reader of a sentence in columns: TOKEN<TAB>TAG, a token a line, tags in BIO. `labels` None takes any."""

    def read(data: bytes) -> Labelled:
        tokens: list[str] = []
        spans: list[Span] = []
        end = 0
        for number, line in enumerate(data.decode().split("\n")):
            token, tag = _columns(number, line)
            begin, end = (end + 1 if tokens else 0), (end + 1 if tokens else 0) + len(token)
            tokens.append(token)
            if tag == NOTHING:
                continue
            letter, _, label = tag.partition("-")
            if letter not in ("B", "I") or not label:
                raise BadLine(number, f"tag {tag!r} is none of BIO: O, B-LABEL where a span begins, I-LABEL inside")
            if labels is not None and label not in labels:
                raise BadLine(number, f"{label!r} is none of objective.labels: {', '.join(labels)}")
            if letter == "B":
                spans.append(Span(begin=begin, end=end, label=label))
            elif spans and spans[-1].end == begin - 1 and spans[-1].label == label:
                spans[-1] = Span(begin=spans[-1].begin, end=end, label=label)
            else:
                raise BadLine(number, f"tag {tag!r} goes on with nothing; a span begins with B-{label}")
        return Labelled(text=" ".join(tokens), spans=tuple(spans))

    return read


def _columns(number: int, line: str) -> tuple[str, str]:
    columns = line.split("\t")
    if len(columns) != 2:
        hint = "; `cut -f1,4` takes the first and the fourth" if len(columns) > 2 else ""
        raise BadLine(number, f"has {len(columns)} columns and not two, a token and its tag with a tab between{hint}")
    token, tag = columns
    if not token or any(character.isspace() for character in token):
        raise BadLine(number, f"token {token!r} is empty or holds white space")
    return token, tag.strip()
