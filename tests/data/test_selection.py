"""Which documents a job keeps, and that the others are counted."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.corpus import Corpus, open_corpus
from runjob.data.documents import BadRows, Document
from runjob.data.prepare import prepare
from runjob.data.selection import Selection
from runjob.data.store import LeftOut
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Filter, FirstSplit
from runjob.schemas.read import JobFileError, read_job
from tests.conftest import ROOT

SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"


def kept(data) -> tuple[list[str], LeftOut]:
    selection = Selection(open_corpus(data), normalize=str, min_length=data.min_length, filter=data.filter)
    return [document.text for _, document in selection.documents()], selection.left_out


def test_documents_are_measured_in_characters_and_short_ones_counted(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("één\n\nvier\n  a \nvijfs\n", encoding="utf-8")
    assert kept(make_text(file, min_length=4)) == (
        ["vier", "  a ", "vijfs"],
        LeftOut(bad=0, empty=1, short=1, filtered=0, duplicates=0),
    )


def test_a_filter_searches_anywhere_and_drop_wins_over_keep(tmp_path: Path, make_jsonl):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(f'{{"text": "{text}"}}\n' for text in ("een huis", "huis te koop", "een weg", "Huis")))
    data = make_jsonl(file, filter=Filter(keep="(?i)huis", drop="koop$"))
    assert kept(data) == (["een huis", "Huis"], LeftOut(bad=0, empty=0, short=0, filtered=2, duplicates=0))


def test_reading_again_counts_from_the_beginning(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("a\nbb\nccc\n\n")
    data = make_text(file, min_length=2, filter=Filter(keep=None, drop="b"))
    selection = Selection(open_corpus(data), normalize=str, min_length=data.min_length, filter=data.filter)
    for _ in range(2):
        assert [document.text for _, document in selection.documents()] == ["ccc"]
        assert selection.left_out == LeftOut(bad=0, empty=1, short=1, filtered=1, duplicates=0)


class Given:
    """A source of these texts."""

    total = done = empty = 0

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.bad = BadRows(allowed=0.0)

    def digest(self, cache: object) -> str:
        return ""

    def documents(self):
        return (Document(text=text, origin="") for text in self.texts)


@given(
    texts=st.lists(st.text("ab ", min_size=1, max_size=6)), least=st.integers(0, 6), word=st.sampled_from(["a", "b+"])
)
def test_every_document_is_kept_or_counted_once(texts: list[str], least: int, word: str):
    selection = Selection(Corpus.of(Given(texts)), normalize=str, min_length=least, filter=Filter(keep=None, drop=word))
    documents = [document.text for _, document in selection.documents()]
    assert documents == [text for text in texts if len(text) >= least and not re.search(word, text)]
    assert len(documents) + selection.left_out.short + selection.left_out.filtered == len(texts)


def test_the_store_says_what_was_left_out(words: Path, tmp_path: Path, make_text, no_report):
    with words.open("a") as file:
        file.write(" \nkort\nkort\n")
    data = make_text(words, split=FirstSplit(kind="first", validation=5, test=None), min_length=5)
    summary = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).summary
    assert summary.left_out == LeftOut(bad=0, empty=1, short=2, filtered=0, duplicates=0)
    assert summary.left_out.words() == "1 of white space alone, 2 shorter than data.min_length"
    assert (summary.train.documents, summary.validation.documents) == (195, 5)


def test_a_filter_that_keeps_nothing_is_named(words: Path, tmp_path: Path, make_text, no_report):
    data = make_text(words, filter=Filter(keep="nothing like it", drop=None))
    with pytest.raises(DataError, match=r"holds no document \(200 by data\.filter were left out\)"):
        prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "missing ), unterminated subpattern at character 1"),
        ("a**", "multiple repeat at character 3"),
        ("a{99999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "write a simpler one"),
    ],
)
@pytest.mark.parametrize("key", ["keep", "drop"])
def test_a_bad_regular_expression_is_a_problem_of_the_job_file(pattern: str, said: str, key: str):
    with pytest.raises(JobFileError) as caught:
        read_job(SMALLEST, [f"data.filter.{key}={pattern!r}"])
    assert [problem.path for problem in caught.value.problems] == [f"data.filter.{key}"]
    assert said in str(caught.value)
