"""Characters as tokens, for CANINE: the id of a character is its code point, and a row stands between CANINE's own CLS
and SEP, which are code points of Unicode's private use and never text.

Text that holds one of those private code points, or NUL, which is the padding, is a row that can't be read
(data/documents.py): its ids would say something else than the text does.
"""

import functools
import hashlib
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runjob.data.store import Side, TokenizerSummary
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.errors import DataError

PAD, CLS, SEP, MASK = 0, 0xE000, 0xE001, 0xE003
# U+E002 and U+E004 stand for things too (the beginning of a text, reserved), though nothing here writes them.
PRIVATE = range(0xE000, 0xE005)
ENGINE = json.dumps({"characters": [PAD, CLS, SEP, MASK]})
# Characters looked at for what replaces others at random, and in how many steps their shares are told apart.
SAMPLED, SHARES = 2**20, 2**16

Ints = npt.NDArray[np.int64]


@functools.cache
def open_characters() -> Any:  # noqa: ANN401 - transformers has no types
    """transformers' CanineTokenizer. Its mask is a character like any other; theirs eats the space before it.

    Once a process: it lists all of Unicode twice to be made, which takes more than a second."""
    from transformers import AddedToken, CanineTokenizer

    return CanineTokenizer(mask_token=AddedToken(chr(MASK), special=True, normalized=False))


def is_characters(tokenizer: Any) -> bool:  # noqa: ANN401
    return type(tokenizer).__name__ == "CanineTokenizer"


def reads_characters(tokenizer: TokenizerSummary) -> bool:
    """By what store.json says of it: only this one has all of Unicode for a vocabulary."""
    return tokenizer.vocab_size == CODE_POINTS


def saved_characters(where: Path) -> bool:
    """Was it saved in this directory? (It has no tokenizer.json: it is no engine of the tokenizers library.)"""
    file = where / "tokenizer_config.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["tokenizer_class"] == "CanineTokenizer"


def fingerprint() -> str:
    return hashlib.sha256(ENGINE.encode()).hexdigest()


class CharacterEncoding:
    """The ids of one text, under the name that the tokenizers library has for them."""

    def __init__(self, text: str) -> None:
        # UTF-32 is the array of code points
        self.ids = array("I", text.encode("utf-32-le"))

    def __len__(self) -> int:
        return len(self.ids)


class CharacterEngine:
    """What an engine of the tokenizers library does, for characters."""

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[CharacterEncoding]:
        assert not add_special_tokens, "documents in a store are bare"
        return [CharacterEncoding(text) for text in texts]


def private_character(text: str) -> str | None:
    """What is wrong with a text that holds one of CANINE's own code points."""
    for point in PRIVATE:
        if chr(point) in text:
            return f"holds U+{point:04X}, which CANINE's tokenizer uses itself and no text does (U+E000 to U+E004)"
    return None


def utf8_bytes() -> Ints:
    """By code point: bytes of the character in UTF-8; 0 for those that are no text."""
    points = np.arange(CODE_POINTS)
    sizes: Ints = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    sizes[[PAD, *PRIVATE]] = 0
    return sizes


def special_points() -> npt.NDArray[np.bool_]:
    """By code point: is it none that a text holds?"""
    special = np.zeros(CODE_POINTS, dtype=np.bool_)
    special[[PAD, *PRIVATE]] = True
    return special


def sample_characters(side: Side) -> Ints:
    """Evenly spaced characters of a side, all of them where there are no more than SAMPLED."""
    stride = max(1, side.summary.tokens // SAMPLED)
    found: Ints = np.asarray(side.tokens[::stride]).astype(np.int64)
    return found[~special_points()[found]]


def replacements(sample: Ints) -> Ints:
    """What a hidden character may be replaced by, each as often among these SHARES as in the sample.

    A draw from the text and not from a range of code points or from all that occur: a character that no text of this
    corpus holds, or a rare one, gives itself away, and the network would learn to see that and not the context. (Of
    100,000 names with a hundred Chinese ones among them, most different characters are Chinese.)
    """
    if not len(sample):
        raise DataError("objective.replace: the prepared documents hold no character that could replace another")
    places = (np.arange(SHARES) + 0.5) / SHARES * len(sample)
    drawn: Ints = np.sort(sample)[places.astype(np.int64)]
    return drawn
