"""Build `sample:glosses`, names of WordNet's nouns and what they mean, and its notice.

    python scripts/make_glosses.py [--out DIR]     (apt-get and dpkg)

A pair is a meaning's names, the first of which means it first of all, and its gloss without the examples. No name and
no gloss stands twice, so each has one right answer. Which meanings: those that the hash of their place in WordNet
draws. The packed file holds no date and its order is fixed, so the same package gives the same bytes.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

from make_paleo_ner import EXAMPLE, WordNet, read_wordnet
from wordnet_sample import make_sample

PAIRS = 8000
# In characters: a gloss of a word or two says too little, and a long one is cut off by small models
SHORTEST, LONGEST = 20, 200


def pairs(wordnet: WordNet) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for offset in sorted(wordnet.meanings, key=lambda one: hashlib.sha256(one.encode()).digest()):
        meaning = wordnet.meanings[offset]
        gloss = EXAMPLE.split(meaning.gloss)[0].strip()
        first = wordnet.senses[meaning.names[0].lower()][0]
        texts = {gloss, *(name.lower() for name in meaning.names)}
        if first == offset and SHORTEST <= len(gloss) <= LONGEST and not texts & seen:
            seen |= texts
            yield {"text": ", ".join(meaning.names), "gloss": gloss, "source": f"wn-{offset}"}


def main() -> None:
    how = "How they were chosen: scripts/make_glosses.py."
    unit = "a pair of names and gloss"
    make_sample("glosses", lambda folder: islice(pairs(read_wordnet(folder)), PAIRS), how=how, unit=unit, about=__doc__)


if __name__ == "__main__":
    main()
