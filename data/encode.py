"""Documents to token ids on all cores, in batches that come out in the order in which they went in.

    this thread            documents -> [batch] ........................ the oldest batch, to be written
    AHEAD threads                          encode_batch_fast -> ids as bytes
    the library's threads                   one for each core, over the documents of a batch

Reading and writing are Python and take one core a tenth of the time; encoding lets go of the interpreter's lock, so
both go on beside it. Neither the size of a batch nor the number of threads leaves a trace in what comes out.
"""

from array import array
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from runjob.data.beside import Numbered
from runjob.data.labels import Labelled, Tagged, Tags, number_document, tag_tokens
from runjob.data.store import LeftOut, SideName, TokenType
from runjob.data.writer import TYPE_CODES

# Batches that are encoded at once: while the ids of some are taken out under the interpreter's lock, the others keep
# the cores busy. On two cores 4 took 3 % less time than 2.
AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far the corpus was read when a document came, and what had been left out until then."""

    left_out: LeftOut
    read_bytes: int


@dataclass(kw_only=True)
class Batch:
    """Neighbouring documents of one section. `marks` has one for each document where a token budget may end the store
    at any of them, else none; `read_bytes` is how far the corpus was read at the last one."""

    section: int
    texts: list[str] = field(default_factory=list)
    labelled: list[Labelled | None] = field(default_factory=list)
    sides: list[SideName] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    characters: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A batch and the tokens of each of its documents, closed by EOS; `tagged`: with labels, where there are any."""

    batch: Batch
    rows: list["array[int]"]
    tagged: list[Tagged]


def encode(
    batches: Iterator[Batch],
    backend: Any,  # noqa: ANN401
    *,
    eos_id: int,
    token_type: TokenType,
    tags: Numbered | None = None,
) -> Generator[Encoded]:
    """Every batch with its tokens; AHEAD more batches are read and encoded than have been taken."""
    code = TYPE_CODES[token_type]
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="encode") as pool:
        running: deque[Future[Encoded]] = deque()
        for batch in batches:
            running.append(pool.submit(_encode, batch, backend, eos_id, code, tags))
            if len(running) > AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _encode(batch: Batch, backend: Any, eos_id: int, code: str, tags: Numbered | None) -> Encoded:  # noqa: ANN401
    # the fast way counts no offsets, which spans alone need
    spelled = tags if isinstance(tags, Tags) else None
    encode_batch = backend.encode_batch_fast if spelled is None else backend.encode_batch
    encodings = encode_batch(batch.texts, add_special_tokens=False)
    rows, tagged = [], []
    for one, encoding in zip(batch.labelled, encodings, strict=True):
        if one is not None and spelled is not None:
            tagged.append(tag_tokens(one, encoding.offsets, spelled))
        elif one is not None:
            tagged.append(number_document(one, tokens=len(encoding)))
    for encoding in encodings:  # one list after the other: those of a whole batch would be 30 bytes a token
        ids = encoding.ids
        ids.append(eos_id)
        rows.append(array(code, ids))
    return Encoded(batch=batch, rows=rows, tagged=tagged)
