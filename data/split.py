"""Which side a document is on: a pure function of the document, the seed and the job's split, so that no document of
the training side is ever moved to another by a corpus that grows (with `hash`; `first` depends on the order).

A test side is cut from the training side alone. With `hash` a document becomes a number in [0, 1): validation takes
those below its share, test those from 1 - its share on. So a job that gets a test side, or a larger one, moves the
documents of that share from train to test and no other; the same holds for validation; and as long as the two shares
leave something to train on, no document ever goes from validation to test or back.
"""

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from runjob.data.corpus import Part
from runjob.data.documents import Document
from runjob.data.store import SIDES, LeftOut, SideName
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import FilesSplit, FirstSplit, HashSplit, Split, SubsetsSplit

# What messages call them
NAMES: dict[SideName, str] = {"train": "training", "validation": "validation", "test": "test"}


def sides_of(split: Split) -> tuple[SideName, ...]:
    """The sides that a job has: a test side only where it asks for one."""
    return tuple(side for side in SIDES if side != "test" or split.test is not None)


def hash_side(text: str, *, validation: float, test: float | None, seed: int) -> SideName:
    """Exact copies of a document are always on the same side, since nothing but its text decides."""
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_key(seed)).digest(), "little")
    if value < _border(validation):
        return "validation"
    if test is not None and value >= 2**64 - _border(test):
        return "test"
    return "train"


@functools.cache
def _key(seed: int) -> bytes:
    return hashlib.blake2b(f"runjob split {seed}".encode(), digest_size=32).digest()


@functools.cache
def _border(share: float) -> int:
    """The first of the 2**64 numbers that is not in the share any more; exact, as 0.1 is written."""
    return math.ceil(Fraction(str(share)) * 2**64)


def divide(
    documents: Iterable[tuple[Part, Document]], split: Split, *, seed: int
) -> Iterator[tuple[SideName, Part, Document]]:
    """Every document with its side, in the order they come. `first` counts in each section of a mixture anew."""
    seen: Counter[int] = Counter()
    for part, document in documents:
        if part.side is not None:
            side = part.side
        elif isinstance(split, HashSplit):
            side = hash_side(document.unmarked, validation=split.validation, test=split.test, seed=seed)
        elif isinstance(split, FirstSplit):
            side = _first_side(seen[part.section], validation=split.validation, test=split.test or 0)
            seen[part.section] += 1
        else:
            raise ValueError("the parts of such a corpus say their sides")
        if side == "train" and document.labelled is not None and document.labelled.spare:
            continue
        yield side, part, document


def _first_side(number: int, *, validation: int, test: int) -> SideName:
    if number < validation:
        return "validation"
    return "test" if number < validation + test else "train"


def refuse_empty_sides(
    split: Split, counts: Mapping[SideName, int], *, left_out: LeftOut, together: bool = False
) -> None:
    """DataError if a side that the job has holds nothing, with what to change; `together`: a row makes several
    documents, which `first` would part."""
    total = sum(counts.values())
    if total == 0:
        raise DataError(f"data.path: the corpus holds no document{_why(left_out)}")
    empty = next((side for side, count in counts.items() if not count), None)
    if empty is None:
        return
    if isinstance(split, FilesSplit | SubsetsSplit):
        raise DataError(f"{_named(split, empty)}: no document is left on the {NAMES[empty]} side{_why(left_out)}")
    others = "the other" if len(counts) == 2 else "the others"
    raise DataError(
        f"data.split: the {NAMES[empty]} side is empty, {_all_on(total)} {others}; "
        f"{_change(split, empty, total=total, sides=len(counts), together=together)}"
    )


def _why(left_out: LeftOut) -> str:
    return f" ({left_out.words()} were left out)" if left_out.words() else ""


def _named(split: FilesSplit | SubsetsSplit, side: SideName) -> str:
    """What of the job file says where the documents of a side are, and what it says."""
    if side == "train":
        return "data.path" if isinstance(split, FilesSplit) else "data.subset"
    said = getattr(split, side)
    return f"data.split.{side}: {said if isinstance(said, str) else ', '.join(said)}"


def _all_on(total: int) -> str:
    return "1 document is on" if total == 1 else f"{total:,} documents are all on"


def _change(split: HashSplit | FirstSplit, empty: SideName, *, total: int, sides: int, together: bool) -> str:
    if total < sides:
        few = "one document can't" if total == 1 else f"{total} documents can't"
        many = "both sides" if sides == 2 else f"{sides} sides"
        return f"{few} be on {many}; see data.documents for what is one document"
    match split:
        case HashSplit() if empty == "train":
            shares = f"validation below {split.validation}"
            return f"lower data.split.{shares}" + ("" if split.test is None else f" or test below {split.test}")
        case HashSplit():
            share = split.validation if empty == "validation" else split.test
            if together:
                return f"raise data.split.{empty} above {share}, or name files of its own: split: {{kind: files, ...}}"
            number = max(1, total // 20)
            fixed = f"validation: {number}" if split.test is None else f"validation: {number}, test: {number}"
            return f"raise data.split.{empty} above {share}, or take a fixed number: split: {{kind: first, {fixed}}}"
        case FirstSplit():
            wanted = f"data.split.validation from {split.validation}"
            if split.test is not None:
                return f"lower {wanted} or data.split.test from {split.test} to at most {total - 1} together"
            return f"lower {wanted} to at most {total - 1}"
