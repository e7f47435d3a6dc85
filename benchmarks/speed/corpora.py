"""Real text from the samples that runjob ships, a document a line, and tokenizers made of it: no network is asked."""

import gzip
import json
import random
import re
from collections.abc import Sequence
from typing import Any

from runjob.data import tokenizers
from runjob.data.pieces import train_wordpiece
from runjob.data.samples import locate
from runjob.data.unigram import train_unigram

# The vocabularies of BERT, GPT-2 and DeBERTa-v3; the samples fill them only in part, and tables keep their full size
BERT, GPT2, UNIGRAM = 30_522, 50_257, 32_000
# A sentence of a word or two is a cry or an abbreviation cut in half
SHORTEST_SENTENCE = 20


def read_sample(name: str) -> list[str]:
    with gzip.open(locate(name), "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def paragraphs() -> list[str]:
    """The long mix: paragraphs of Moby Dick and of the State of the Union, 117 tokens of BERT's kind at the median."""
    return read_sample("english")


def long_paragraphs() -> list[str]:
    """Those of 80 words or more: cut at 64 tokens, all are as long."""
    return [line for line in paragraphs() if len(line.split()) >= 80]


def sentences() -> list[str]:
    """The short mix: the same paragraphs by sentence."""
    cut = [one for line in paragraphs() for one in re.split(r"(?<=[.!?])\s+", line)]
    return [sentence for sentence in cut if len(sentence) >= SHORTEST_SENTENCE]


def glosses() -> list[str]:
    return [json.loads(line)["text"].replace("\n", " ") for line in read_sample("paleo")]


def names() -> list[str]:
    return read_sample("domains")


def shuffled(lines: Sequence[str]) -> list[str]:
    """In an order of its own, so that no column finds long lines together by luck."""
    mixed = list(lines)
    random.Random(1).shuffle(mixed)
    return mixed


def wordpiece(lines: Sequence[str]) -> Any:  # noqa: ANN401 - transformers has no types
    return train_wordpiece(lambda: lines, vocab_size=BERT, lowercase=True)


def mpnet_wordpiece(lines: Sequence[str]) -> Any:  # noqa: ANN401
    return train_wordpiece(lambda: lines, vocab_size=BERT, lowercase=True, marks="mpnet")


def bpe(lines: Sequence[str]) -> Any:  # noqa: ANN401
    return tokenizers.train_bpe(lines, vocab_size=GPT2)


def unigram(lines: Sequence[str]) -> Any:  # noqa: ANN401
    return train_unigram(lines, vocab_size=UNIGRAM, lowercase=False)
