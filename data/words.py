"""Where words begin, as the tokenizer itself marks it: computed once for a vocabulary, so that a row's words are a sum
over two tables and no text is looked at again.

    WordPiece       pieces without ## begin a word
    SentencePiece   pieces with a leading ▁ begin one
    byte-level      pieces with a leading space (Ġ) or line break begin one

The last two leave punctuation hanging on the word before it, which WordPiece never does; here a piece that begins with
a punctuation mark or symbol begins a word everywhere, and so does whatever follows a piece that ends with one. The
first piece of a row, and the one after a special token, begins a word whatever it looks like: with a byte-level
tokenizer the first word of a text has no space before it.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runjob.schemas.errors import JobError
from runjob.schemas.tokenizer_files import SPACE_MARK, no_words, word_scheme

# Byte-level pieces are written with one character a byte, and these stand for space, tab, line feed, carriage return.
BYTE_SPACE, BYTE_BREAKS = "\u0120", "\u0109\u010a\u010d"
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class Boundaries:
    """By token id: does it begin a word, and does the token after it."""

    opens: npt.NDArray[np.bool_]
    closes: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """One entry of a vocabulary: `text` without the mark of its scheme."""

    opens: bool
    closes: bool
    text_bytes: int


def word_boundaries(tokenizer: Any) -> Boundaries:  # noqa: ANN401 - transformers has no types
    """The tables of a tokenizer; JobError if it does not say where words begin."""
    pieces = list(_pieces(tokenizer))
    return Boundaries(
        opens=np.array([piece.opens for piece in pieces]), closes=np.array([piece.closes for piece in pieces])
    )


def text_bytes(tokenizer: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """By token id: UTF-8 bytes of the text that it stands for, without the space before a word; 0 for special ones."""
    return np.array([piece.text_bytes for piece in _pieces(tokenizer)], dtype=np.int64)


def marks_words(tokenizer: Any) -> bool:  # noqa: ANN401
    return scheme_of(tokenizer) is not None


def table_size(tokenizer: Any) -> int:  # noqa: ANN401
    """Ids run to here; more than there are entries where a vocabulary has gaps."""
    return int(max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1))


def _pieces(tokenizer: Any) -> Iterator[_Piece]:  # noqa: ANN401
    engine = json.loads(tokenizer.backend_tokenizer.to_str())
    scheme = word_scheme(engine)
    if scheme is None:
        raise JobError(f"objective.unit: {no_words(engine)}")
    added = tokenizer.added_tokens_decoder  # by id: a tokenizer of lower case gives their text in lower case
    special = set(tokenizer.all_special_tokens)
    for number, text in enumerate(tokenizer.convert_ids_to_tokens(list(range(table_size(tokenizer))))):
        if text is None or text in special:
            yield _Piece(opens=True, closes=True, text_bytes=0)
        elif number in added:  # as it stands, without any mark
            yield _Piece(opens=True, closes=added[number].single_word, text_bytes=len(text.encode()))
        elif scheme == "bytes":
            yield _byte_piece(text)
        elif scheme == "spaces":
            yield _space_piece(text)
        else:
            yield _word_piece(text, scheme)


def scheme_of(tokenizer: Any) -> str | None:  # noqa: ANN401
    """`bytes`, `spaces`, or the prefix of WordPiece's inner pieces; None where words are not marked."""
    return word_scheme(json.loads(tokenizer.backend_tokenizer.to_str()))


def _word_piece(text: str, prefix: str) -> _Piece:
    inner = text.startswith(prefix)
    return _Piece(opens=not inner, closes=False, text_bytes=len(text.removeprefix(prefix).encode()))


def _space_piece(text: str) -> _Piece:
    if BYTE_PIECE.fullmatch(text):  # one byte of a character that the vocabulary lacks
        return _Piece(opens=False, closes=False, text_bytes=1)
    body = text.removeprefix(SPACE_MARK)
    return _Piece(
        opens=text.startswith(SPACE_MARK) or _is_mark(body[:1]),
        closes=_is_mark(body[-1:]),
        text_bytes=len(body.replace(SPACE_MARK, " ").encode()),
    )


def _byte_piece(text: str) -> _Piece:
    body = text.removeprefix(BYTE_SPACE)
    first, last = body[:1], body[-1:]
    # beyond ASCII a character is a byte, and no byte by itself is a mark
    return _Piece(
        opens=text.startswith(BYTE_SPACE) or first in (*BYTE_BREAKS,) or (first.isascii() and _is_mark(first)),
        closes=last in (*BYTE_BREAKS,) or (last.isascii() and _is_mark(last)),
        text_bytes=len(body),
    )


def _is_mark(character: str) -> bool:
    """Punctuation or a symbol; an empty text is neither."""
    return character != "" and unicodedata.category(character)[0] in "PS"
