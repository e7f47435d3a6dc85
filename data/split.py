"""Which side a document is on: a pure function of the document, the seed and the job's split, so that no document of
the training side is ever moved to the other by a corpus that grows (with `hash`; `first` depends on the order)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from runjob.data.documents import Document
from runjob.data.store import LeftOut, SideName
from runjob.schemas.errors import DataError
from runjob.schemas.job import FirstSplit, HashSplit, Split


def hash_side(text: str, *, validation: float, seed: int) -> SideName:
    """Exact copies of a document are always on the same side, since nothing but its text decides."""
    key = hashlib.blake2b(f"runjob split {seed}".encode(), digest_size=32).digest()
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little")
    return "validation" if value < Fraction(str(validation)) * 2**64 else "train"


def divide(documents: Iterable[Document], split: Split, *, seed: int) -> Iterator[tuple[SideName, Document]]:
    """Every document with its side, in the order they come."""
    for number, document in enumerate(documents):
        match split:
            case HashSplit():
                yield hash_side(document.text, validation=split.validation, seed=seed), document
            case FirstSplit():
                yield "validation" if number < split.validation else "train", document


def refuse_empty_sides(split: Split, counts: Mapping[SideName, int], *, left_out: LeftOut) -> None:
    """DataError if there is nothing to train or nothing to evaluate on, with what to change."""
    train, validation = counts["train"], counts["validation"]
    total = train + validation
    if total == 0:
        why = f" ({left_out.words()} were left out)" if left_out.words() else ""
        raise DataError(f"data.path: the corpus holds no document{why}")
    if train and validation:
        return
    match split:
        case HashSplit():
            change = (
                f"raise data.split.validation above {split.validation}, or take a fixed number: "
                f"split: {{kind: first, validation: {max(1, total // 20)}}}"
                if train
                else f"lower data.split.validation below {split.validation}"
            )
        case FirstSplit():
            change = f"lower data.split.validation from {split.validation} to at most {total - 1}"
    if total == 1:
        change = "one document can't be on both sides; see data.documents for what is one document"
    side = "training" if not train else "validation"
    raise DataError(f"data.split: the {side} side is empty, {total} document(s) are all on the other; {change}")
