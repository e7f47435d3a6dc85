"""Which side a document is on, and that it stays there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data import tokenizers
from runjob.data.corpus import Part
from runjob.data.documents import Document
from runjob.data.prepare import prepare
from runjob.data.split import divide, hash_side, refuse_empty_sides
from runjob.data.store import LeftOut, Store
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import FirstSplit, HashSplit

GOLDEN = "vvvttttvvvtvtttttttvvtvt"
GOLDEN_TESTED = "vavavatetetrtrvavavatevatrtrtrtrtrtetevavatevatr"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


SOURCE = Part(source=None, side=None, section=0)  # type: ignore[arg-type] - nothing is read


def sides(texts: list[str], *, seed: int = 0, validation: float = 0.3, test: float | None = None) -> dict[str, str]:
    split = HashSplit(kind="hash", validation=validation, test=test)
    return {document.text: side for side, _, document in divide(given_texts(texts), split, seed=seed)}


def given_texts(texts: list[str]) -> list[tuple[Part, Document]]:
    return [(SOURCE, Document(text=text, origin="")) for text in texts]


@given(old=st.lists(TEXTS, min_size=1), new=st.lists(TEXTS), seed=st.integers(0, 2**64))
def test_no_document_changes_side_when_the_corpus_grows(old: list[str], new: list[str], seed: int):
    before, after = sides(old, seed=seed), sides([*new, *old, *new], seed=seed)
    assert all(after[text] == side for text, side in before.items())


SHARES = st.sampled_from([0.001, 0.05, 0.1, 0.25, 0.3, 0.5])


@given(texts=st.lists(TEXTS, min_size=1), validation=SHARES, test=SHARES, seed=st.integers(0, 2**64))
def test_a_test_side_takes_documents_from_training_alone(texts: list[str], validation: float, test: float, seed: int):
    without = sides(texts, seed=seed, validation=validation)
    with_test = sides(texts, seed=seed, validation=validation, test=test)
    moved = {text for text in texts if without[text] != with_test[text]}
    assert all((without[text], with_test[text]) == ("train", "test") for text in moved)
    assert {text for text in texts if with_test[text] == "test"} == moved


@given(texts=st.lists(TEXTS, min_size=1), old=SHARES, new=SHARES, seed=st.integers(0, 2**64))
def test_a_larger_test_side_only_adds_and_never_meets_validation(texts: list[str], old: float, new: float, seed: int):
    before, after = (sides(texts, seed=seed, validation=0.3, test=share) for share in sorted((old, new)))
    assert all(after[text] == "test" for text in texts if before[text] == "test")
    assert all((before[text] == "validation") == (after[text] == "validation") for text in texts)


@given(old=st.lists(TEXTS, min_size=1), new=st.lists(TEXTS), seed=st.integers(0, 2**64))
def test_no_document_changes_any_of_three_sides_when_the_corpus_grows(old: list[str], new: list[str], seed: int):
    before, after = (sides(texts, seed=seed, test=0.3) for texts in (old, [*new, *old, *new]))
    assert all(after[text] == side for text, side in before.items())


def test_sides_never_change_between_versions():
    texts = [f"document {number}" for number in range(24)]
    drawn = "".join(hash_side(text, validation=0.3, test=None, seed=7)[0] for text in texts)
    assert drawn == GOLDEN
    tested = "".join(hash_side(text, validation=0.3, test=0.3, seed=7)[:2] for text in texts)
    assert tested == GOLDEN_TESTED


def test_the_share_is_what_was_asked_for_and_a_larger_one_only_adds():
    texts = [f"document {number}" for number in range(20_000)]
    small, large = (
        {text for text in texts if hash_side(text, validation=share, test=None, seed=3) == "validation"}
        for share in (0.05, 0.2)
    )
    assert abs(len(small) - 1000) < 5 * (20_000 * 0.05 * 0.95) ** 0.5
    assert abs(len(large) - 4000) < 5 * (20_000 * 0.2 * 0.8) ** 0.5
    assert small < large


def test_the_seed_draws_other_sides():
    texts = [f"document {number}" for number in range(200)]
    assert sides(texts, seed=1) != sides(texts, seed=2)


def test_first_takes_the_first_documents():
    drawn = [
        side
        for side, _, _ in divide(given_texts(list("01234")), FirstSplit(kind="first", validation=2, test=None), seed=0)
    ]
    assert drawn == ["validation", "validation", "train", "train", "train"]


def test_first_takes_the_test_side_after_validation_and_in_every_section_anew():
    sections = [Part(source=None, side=None, section=number) for number in (0, 1)]  # type: ignore[arg-type]
    texts = [(section, Document(text=text, origin="")) for section in sections for text in "01234"]
    drawn = [side for side, _, _ in divide(texts, FirstSplit(kind="first", validation=1, test=2), seed=0)]
    assert drawn == ["validation", "test", "test", "train", "train"] * 2


THREE = HashSplit(kind="hash", validation=0.01, test=0.02)


@pytest.mark.parametrize(
    ("split", "counts", "message"),
    [
        (
            THREE,
            (97, 3, 0),
            r"the test side is empty, 100 documents are all on the others; raise data.split.test above",
        ),
        (THREE, (97, 3, 0), r"split: {kind: first, validation: 5, test: 5}"),
        (THREE, (0, 5, 5), r"lower data.split.validation below 0.01 or test below 0.02"),
        (FirstSplit(kind="first", validation=4, test=9), (0, 4, 2), r"from 4 or data.split.test from 9 to at most 5"),
        (THREE, (1, 1, 0), r"2 documents can't be on 3 sides"),
    ],
)
def test_an_empty_one_of_three_sides_is_refused_by_name(split, counts: tuple[int, int, int], message: str):
    found = dict(zip(("train", "validation", "test"), counts, strict=True))
    with pytest.raises(DataError, match=message):
        refuse_empty_sides(split, found, left_out=LeftOut(bad=0, empty=0, short=0, filtered=0, duplicates=0))


def test_the_store_keeps_the_test_side_apart_and_the_tokenizer_never_sees_it(
    words: Path, tmp_path: Path, make_text, no_report
):
    secret = "zzqq zzqq zzqq zzqq zzqq zzqq"
    words.write_text(f"een\n{secret}\n" + words.read_text(encoding="utf-8"), encoding="utf-8")
    data = make_text(words, split=FirstSplit(kind="first", validation=1, test=1))
    prepared = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)
    store = Store.open(prepared.path)
    store.verify()
    tokenizer = tokenizers.load_saved(store.tokenizer)
    assert store.test is not None
    assert tokenizer.decode(store.test.document(0)) == secret
    assert {side: summary.documents for side, summary in prepared.summary.sides().items()} == {
        "train": 200,
        "validation": 1,
        "test": 1,
    }
    assert store.test.summary.words == 6
    assert "zz" not in tokenizer.get_vocab()
    without = prepare(
        make_text(words, split=FirstSplit(kind="first", validation=2, test=None)),
        seed=1,
        cache=tmp_path / "cache",
        report=no_report,
    )
    assert not (without.path / "test").exists()
    assert (without.summary.test, Store.open(without.path).test) == (None, None)


@pytest.mark.parametrize(
    ("split", "train", "validation", "message"),
    [
        (
            HashSplit(kind="hash", validation=0.01, test=None),
            40,
            0,
            "the validation side is empty, .* raise data.split.validation",
        ),
        (HashSplit(kind="hash", validation=0.01, test=None), 40, 0, "split: {kind: first, validation: 2}"),
        (
            HashSplit(kind="hash", validation=0.9, test=None),
            0,
            3,
            "the training side is empty, .* lower data.split.validation",
        ),
        (FirstSplit(kind="first", validation=9, test=None), 0, 3, "lower data.split.validation from 9 to at most 2"),
        (FirstSplit(kind="first", validation=9, test=None), 0, 1, "one document can't be on both sides"),
        (FirstSplit(kind="first", validation=9, test=None), 0, 0, "the corpus holds no document \\(4 of white space"),
    ],
)
def test_an_empty_side_is_refused_with_what_to_change(split, train: int, validation: int, message: str):
    with pytest.raises(DataError, match=message):
        refuse_empty_sides(
            split,
            {"train": train, "validation": validation},
            left_out=LeftOut(bad=0, empty=4, short=0, filtered=0, duplicates=0),
        )
