"""Which side a document is on, and that it stays there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.documents import Document
from runjob.data.split import divide, hash_side, refuse_empty_sides
from runjob.data.store import LeftOut
from runjob.schemas.errors import DataError
from runjob.schemas.job import FirstSplit, HashSplit

GOLDEN = "vvvttttvvvtvtttttttvvtvt"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


def sides(texts: list[str], *, seed: int = 0, validation: float = 0.3) -> dict[str, str]:
    split = HashSplit(kind="hash", validation=validation)
    documents = [Document(text=text, origin="") for text in texts]
    return {document.text: side for side, document in divide(documents, split, seed=seed)}


@given(old=st.lists(TEXTS, min_size=1), new=st.lists(TEXTS), seed=st.integers(0, 2**64))
def test_no_document_changes_side_when_the_corpus_grows(old: list[str], new: list[str], seed: int):
    before, after = sides(old, seed=seed), sides([*new, *old, *new], seed=seed)
    assert all(after[text] == side for text, side in before.items())


def test_sides_never_change_between_versions():
    texts = [f"document {number}" for number in range(24)]
    drawn = "".join(hash_side(text, validation=0.3, seed=7)[0] for text in texts)
    assert drawn == GOLDEN


def test_the_share_is_what_was_asked_for_and_a_larger_one_only_adds():
    texts = [f"document {number}" for number in range(20_000)]
    small, large = (
        {text for text in texts if hash_side(text, validation=share, seed=3) == "validation"} for share in (0.05, 0.2)
    )
    assert abs(len(small) - 1000) < 5 * (20_000 * 0.05 * 0.95) ** 0.5
    assert abs(len(large) - 4000) < 5 * (20_000 * 0.2 * 0.8) ** 0.5
    assert small < large


def test_the_seed_draws_other_sides():
    texts = [f"document {number}" for number in range(200)]
    assert sides(texts, seed=1) != sides(texts, seed=2)


def test_first_takes_the_first_documents():
    documents = [Document(text=str(number), origin="") for number in range(5)]
    drawn = [side for side, _ in divide(documents, FirstSplit(kind="first", validation=2), seed=0)]
    assert drawn == ["validation", "validation", "train", "train", "train"]


@pytest.mark.parametrize(
    ("split", "train", "validation", "message"),
    [
        (
            HashSplit(kind="hash", validation=0.01),
            40,
            0,
            "the validation side is empty, .* raise data.split.validation",
        ),
        (HashSplit(kind="hash", validation=0.01), 40, 0, "split: {kind: first, validation: 2}"),
        (HashSplit(kind="hash", validation=0.9), 0, 3, "the training side is empty, .* lower data.split.validation"),
        (FirstSplit(kind="first", validation=9), 0, 3, "lower data.split.validation from 9 to at most 2"),
        (FirstSplit(kind="first", validation=9), 0, 1, "one document can't be on both sides"),
        (FirstSplit(kind="first", validation=9), 0, 0, "the corpus holds no document \\(4 of white space"),
    ],
)
def test_an_empty_side_is_refused_with_what_to_change(split, train: int, validation: int, message: str):
    with pytest.raises(DataError, match=message):
        refuse_empty_sides(
            split,
            {"train": train, "validation": validation},
            left_out=LeftOut(empty=4, short=0, filtered=0, duplicates=0),
        )
