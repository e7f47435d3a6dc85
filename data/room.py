"""Is there room for a store? Estimated from a look at the beginning of each source, before a byte is written."""

import math
from pathlib import Path

import numpy as np

from runjob.data.build import Build
from runjob.data.corpus import Corpus
from runjob.data.documents import Source
from runjob.data.space import check_space
from runjob.data.writer import token_type

# Of text: enough for a fair ratio of packed to unpacked bytes, and read in a blink
LOOKED_AT = 2_000_000
# offsets.npy and what it is made from; a digest and a number where copies are looked for (data/duplicates.py)
PER_DOCUMENT, PER_DIGEST = 16, 24


def check_room(build: Build, path: Path) -> None:
    """MissingError if the store won't fit; what a killed process left of it is there already."""
    vocab_size = len(build.tokenizer) if build.to_train is None else build.to_train.vocab_size
    vocab_size += len(build.extension.terms) + len(build.extension.markers)
    needed = estimate_store(
        build.tokenising.selection.corpus,
        vocab_size=vocab_size,
        token_budget=build.tokenising.token_budget,
        deduplicate=build.deduplicate,
    )
    begun = sum(file.stat().st_size for file in build.folder(path).rglob("*") if file.is_file())
    check_space(path.parent, needed=needed - begun, what="the prepared corpus (an estimate)")


def estimate_store(corpus: Corpus, *, vocab_size: int, token_budget: int | None, deduplicate: bool) -> int:
    """Bytes on the disk. A token is taken for log2(vocabulary) / 4 bytes of text: byte-level BPE has 2.1 at 512 entries
    and 4.4 at 50,257 on Dutch and English, so this is rather too much than too little there."""
    size, width = 0.0, np.dtype(token_type(vocab_size)).itemsize
    for part in corpus.parts:
        text, documents, all_of_it = _look(part.source)
        tokens = all_of_it * (text / (math.log2(vocab_size) / 4) + documents)
        share = 1.0 if token_budget is None or tokens <= token_budget else token_budget / tokens
        size += share * (tokens * width + all_of_it * documents * PER_DOCUMENT)
        size += all_of_it * documents * PER_DIGEST if deduplicate else 0.0
    return int(size)


def _look(source: Source) -> tuple[int, int, float]:
    """Bytes of text and documents at the beginning, and how many times as much there is in all."""
    text = documents = 0
    for document in source.documents():
        text += len(document.text.encode())
        documents += 1
        if text >= LOOKED_AT:
            return text, documents, source.total / source.done if source.done else 1.0
    return text, documents, 1.0
