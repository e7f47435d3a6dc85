"""What `data.normalize` makes of a document, always in this order, and for each character of it the place in the raw
text that it came from.

    unicode -> white space -> lower case -> names of hosts -> terms of several words joined

A step takes a text apart into pieces, each with what takes its place; so texts and their alignment are one thing, and
the alignment of two steps is that of the second seen through the first. Where no alignment is asked for, a step may
have a shorter way to the same text.
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from runjob.data.terms import read_terms
from runjob.schemas.job_data import CharacterTokenizer, Data, Normalize

NOTHING = Normalize(unicode=None, whitespace="keep", lowercase=False, idn=None, join_terms=False)
# (begin, end, what takes its place)
Piece = tuple[int, int, str]
Form = Literal["NFC", "NFKC"]
# What parts the labels of a host name as a full stop does: the ideographic, the wide, the half-wide one (RFC 3490, 3.1)
DOT = re.compile(r"[\u3002\uff0e\uff61]")
LABEL = re.compile(r"[^\s.]+")
PUNYCODE = "xn--"
SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """`spans`: for each character of `text`, where in the raw text it came from (begin, end)."""

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """`text` of all `pieces` joined, in a shorter way."""

    pieces: Callable[[str], Iterable[Piece]]
    text: Callable[[str], str]


class Normalizer:
    """Called with a raw text, gives the normalised one."""

    def __init__(self, settings: Normalize, *, terms: Iterable[str]) -> None:
        self._steps = tuple(_steps(settings, terms))

    def __call__(self, text: str) -> str:
        for step in self._steps:
            text = step.text(text)
        return text

    def align(self, raw: str) -> Aligned:
        text, spans = raw, [(place, place + 1) for place in range(len(raw))]
        for step in self._steps:
            parts: list[str] = []
            seen: list[tuple[int, int]] = []
            for begin, end, new in step.pieces(text):
                parts.append(new)
                if new:
                    seen += [(spans[begin][0], spans[end - 1][1])] * len(new)
            text, spans = "".join(parts), seen
        return Aligned(text=text, spans=tuple(spans))


def open_normalizer(data: Data) -> Normalizer:
    joined = data.normalize.join_terms and not isinstance(data.tokenizer, CharacterTokenizer)
    if not joined or isinstance(data.tokenizer, CharacterTokenizer):
        return Normalizer(data.normalize, terms=())
    terms = read_terms(data.tokenizer.terms, where="data.tokenizer.terms.")
    return Normalizer(data.normalize, terms=[term.text for term in terms])


def describe_normalize(settings: Normalize) -> dict[str, object]:
    """What of it decides a document, as JSON; nothing where nothing is asked for. (The terms that are joined stand with
    the tokenizer.)"""
    described = dataclasses.asdict(settings)
    if described == dataclasses.asdict(NOTHING):
        return {}
    if settings.unicode is not None:  # the same text may become another where Unicode knows more characters
        described["unicode"] = f"{settings.unicode} {unicodedata.unidata_version}"
    if settings.idn is not None:  # stores that were made before these were parted alike are others
        described["dots"] = DOT.pattern
    return {"normalize": described}


def _steps(settings: Normalize, terms: Iterable[str]) -> Iterator[Step]:
    if settings.unicode is not None:
        form = settings.unicode
        yield Step(
            pieces=functools.partial(unicode_pieces, form=form), text=functools.partial(unicodedata.normalize, form)
        )
    if settings.whitespace == "strip":
        yield Step(pieces=stripped_pieces, text=str.strip)
    elif settings.whitespace == "collapse":
        yield Step(pieces=collapsed_pieces, text=lambda text: " ".join(text.split()))
    if settings.lowercase:
        yield Step(pieces=lower_pieces, text=str.lower)
    if settings.idn is not None:
        # else `例え。jp` would not become ASCII, and be another name than `例え.jp`
        yield _replacing(DOT, lambda _: ".")
        yield _replacing(LABEL, to_punycode if settings.idn == "ascii" else from_punycode)
    if (found := _several_words(terms)) is not None:
        pattern, spelling = found
        yield _replacing(pattern, lambda words: spelling["_".join(re.split(r"[\s_]+", words))])


def unicode_pieces(text: str, *, form: Form) -> Iterator[Piece]:
    """A character with what is composed with it or ordered behind it, up to the next that begins anew."""
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or _begins(text[place], form):
            yield begin, place, unicodedata.normalize(form, text[begin:place])
            begin = place


def _begins(character: str, form: Form) -> bool:
    """Is it certain that nothing before this character changes it, or is changed by it?"""
    if character.isascii():
        return True
    first = unicodedata.normalize("NFD" if form == "NFC" else "NFKD", character)[0]
    return not unicodedata.combining(first) and first not in _seconds()


@functools.cache
def _seconds() -> frozenset[str]:
    """Characters that join the one before them though they are no combining marks: Hangul vowels and finals, some
    vowel signs of India."""
    every = (unicodedata.decomposition(chr(point)).split() for point in range(0x110000))
    pairs = {chr(int(parts[1], 16)) for parts in every if len(parts) == 2 and not parts[0].startswith("<")}
    return frozenset({*pairs, *map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))})


def stripped_pieces(text: str) -> Iterator[Piece]:
    begin = len(text) - len(text.lstrip())
    yield from _each(text, begin, max(begin, len(text.rstrip())))


def collapsed_pieces(text: str) -> Iterator[Piece]:
    place = 0
    for space in SPACE.finditer(text):
        yield from _each(text, place, space.start())
        if space.start() and space.end() < len(text):
            yield space.start(), space.end(), " "
        place = space.end()
    yield from _each(text, place, len(text))


def lower_pieces(text: str) -> Iterator[Piece]:
    """Taken from the whole text in lower case: a sigma at the end of a word is another than within."""
    lower, at = text.lower(), 0
    for place, character in enumerate(text):
        length = len(character.lower())
        yield place, place + 1, lower[at : at + length]
        at += length


def to_punycode(label: str) -> str:
    """`kärnten` to `xn--krnten-bua` (RFC 3492): what is registered, given that it is in lower case and composed."""
    if label.isascii():
        return label
    try:
        return PUNYCODE + label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label


def from_punycode(label: str) -> str:
    """The other way round; a label that no other would be written as is left as it is."""
    if not label.isascii() or not label.lower().startswith(PUNYCODE):
        return label
    try:
        decoded = label[len(PUNYCODE) :].encode("ascii").decode("punycode")
        decoded.encode()  # half a surrogate pair is none
    except (UnicodeError, ValueError, OverflowError):
        return label
    return decoded if to_punycode(decoded).lower() == label.lower() else label


def _several_words(terms: Iterable[str]) -> tuple[re.Pattern[str], dict[str, str]] | None:
    """What finds terms of several words, however their words are parted; and how each is spelt in its list."""
    spelling: dict[str, str] = {}
    for term in terms:
        words = [word for word in re.split(r"[\s_]+", term) if word]
        if len(words) > 1:
            spelling.setdefault("_".join(words), term)
    if not spelling:
        return None
    longest = sorted(spelling, key=len, reverse=True)
    found = "|".join(r"[\s_]+".join(map(re.escape, words.split("_"))) for words in longest)
    return re.compile(rf"(?<!\w)(?:{found})(?!\w)"), spelling


def _replacing(pattern: re.Pattern[str], new: Callable[[str], str]) -> Step:
    def pieces(text: str) -> Iterator[Piece]:
        place = 0
        for match in pattern.finditer(text):
            changed = new(match.group())
            if changed != match.group():
                yield from _each(text, place, match.start())
                yield match.start(), match.end(), changed
                place = match.end()
        yield from _each(text, place, len(text))

    return Step(pieces=pieces, text=lambda text: pattern.sub(lambda match: new(match.group()), text))


def _each(text: str, begin: int, end: int) -> Iterator[Piece]:
    """Characters that stay as they are."""
    for place in range(begin, end):
        yield place, place + 1, text[place]
