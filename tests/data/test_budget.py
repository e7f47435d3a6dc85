"""A budget of training tokens: which document is the last, and what is said about the rest."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from runjob.data import tokenizers
from runjob.data.prepare import Sizes, prepare
from runjob.data.store import Budget, LeftOut, Store
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import FirstSplit, HashSplit, PretrainedTokenizer
from runjob.schemas.read import JobFileError, read_job
from tests.conftest import ROOT

SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
QUARTER = HashSplit(kind="hash", validation=0.25, test=None)


@pytest.fixture
def existing(words: Path, tmp_path: Path) -> PretrainedTokenizer:
    trained = tokenizers.train_bpe(words.read_text(encoding="utf-8").splitlines(), vocab_size=400)
    tokenizers.save(trained, tmp_path / "tokenizer")
    return PretrainedTokenizer(kind="pretrained", path=str(tmp_path / "tokenizer"), revision=None, terms={})


@pytest.mark.parametrize("batch_characters", [1, 300, 1_000_000])
def test_the_document_that_reaches_the_budget_is_the_last_one_and_whole(
    words: Path, tmp_path: Path, make_text, existing, no_report, batch_characters: int
):
    whole = Store.open(
        prepare(make_text(words, tokenizer=existing, split=QUARTER), seed=1, cache=tmp_path, report=no_report).path
    )
    data = make_text(words, tokenizer=existing, split=QUARTER, token_budget=700)
    prepared = prepare(data, seed=1, cache=tmp_path, report=no_report, sizes=Sizes(batch=batch_characters, part=300))
    store = Store.open(prepared.path)
    ends = list(itertools.accumulate(len(whole.train.document(n)) + 1 for n in range(whole.train.summary.documents)))
    expected = next(number for number, end in enumerate(ends) if end >= 700) + 1
    train, validation = store.train.summary, store.validation.summary
    assert (train.documents, train.predicted) == (expected, ends[expected - 1])
    assert train.predicted >= 700 > ends[expected - 2]
    for side, full in ((store.train, whole.train), (store.validation, whole.validation)):
        assert np.array_equal(side.tokens, full.tokens[: len(side.tokens)])
    read = train.documents + validation.documents
    assert 0 < validation.documents < whole.validation.summary.documents
    lines = words.read_bytes().splitlines(keepends=True)
    assert prepared.summary.budget == Budget(
        tokens=700, reached=True, read_bytes=sum(map(len, lines[:read])), source_bytes=words.stat().st_size
    )


def test_what_is_left_out_beyond_the_budget_is_not_counted(words: Path, tmp_path: Path, make_text, existing, no_report):
    words.write_text("x\nx\n" + words.read_text(encoding="utf-8") + "x\n" * 9, encoding="utf-8")
    split = FirstSplit(kind="first", validation=3, test=None)
    data = make_text(words, tokenizer=existing, split=split, min_length=2, token_budget="0.7k")
    summary = prepare(data, seed=1, cache=tmp_path, report=no_report).summary
    assert summary.left_out == LeftOut(bad=0, empty=0, short=2, filtered=0, duplicates=0)
    assert summary.validation.documents == 3
    assert summary.budget is not None
    said = summary.budget.words(summary.train.predicted)
    assert said.startswith("data.token_budget 700 is reached after ")
    assert said.endswith(" % of the corpus; the rest is unused")


def test_a_budget_larger_than_the_corpus_takes_it_all_and_says_so(
    words, tmp_path: Path, make_text, existing, no_report
):
    whole, asked = (
        prepare(make_text(words, tokenizer=existing, token_budget=budget), seed=1, cache=tmp_path, report=no_report)
        for budget in (None, "1B")
    )
    assert whole.path != asked.path
    assert whole.summary.content == asked.summary.content
    assert (whole.summary.budget, asked.summary.budget.reached) == (None, False)
    tokens = asked.summary.train.predicted
    assert asked.summary.budget.words(tokens) == (
        f"the whole corpus holds {tokens:,} training tokens, fewer than data.token_budget 1,000,000,000: "
        f"all of it is used"
    )


def test_the_same_number_written_in_two_ways_is_one_store(words: Path, tmp_path: Path, make_text, existing, no_report):
    one, other = (
        prepare(make_text(words, tokenizer=existing, token_budget=n), seed=1, cache=tmp_path, report=no_report).path
        for n in (1000, "1k")
    )
    assert one == other


def test_the_tokenizer_is_trained_on_all_of_the_training_side(words: Path, tmp_path: Path, make_text, no_report):
    one, other = (
        prepare(make_text(words, token_budget=n), seed=1, cache=tmp_path, report=no_report) for n in (300, None)
    )
    assert one.summary.tokenizer == other.summary.tokenizer


def test_a_budget_reached_before_any_validation_document_is_refused(
    words: Path, tmp_path: Path, make_text, existing, no_report
):
    split = HashSplit(kind="hash", validation=0.0001, test=None)
    with pytest.raises(DataError, match=r"data\.token_budget: 5 is reached after 1 training document, before"):
        prepare(
            make_text(words, tokenizer=existing, split=split, token_budget=5), seed=1, cache=tmp_path, report=no_report
        )


@pytest.mark.parametrize("text", ["10k", "1M", "10M", "100M", "1B", "10B", "250000", "1.5M"])
def test_budgets_as_people_write_them(text: str):
    assert str(read_job(SMALLEST, [f"data.token_budget={text}"]).job.data.token_budget) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "must be at least 1"),
        ("0k", "0k is less than one token"),
        ("1.5", "expected a whole number"),
        ("10 M", "such as `10M`"),
        ("many", "such as `10M`"),
    ],
)
def test_what_is_no_budget_is_said(text: str, said: str):
    with pytest.raises(JobFileError) as caught:
        read_job(SMALLEST, [f"data.token_budget={text}"])
    assert [problem.path for problem in caught.value.problems] == ["data.token_budget"]
    assert said in str(caught.value)
