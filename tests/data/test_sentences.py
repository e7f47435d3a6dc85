"""Where sentences end, and where they don't."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.sentences import cut_sentences


def cut(text: str) -> list[str]:
    return [text[begin:end] for begin, end in cut_sentences(text)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Found by Lu et al. Twice in the Cambrian.",
        "Olenellus sp. Indet. is not Elrathia cf. Kingii.",
        "See Fig. 3 and Figs. 4-5 (cf. Smith 1999).",
        "T. Rex and A. B. Smith met in the U.S. Army.",
        "It is 3.5 m long, e.g. Here, i.e. There.",
        "He wrote ... and went on.",
        "Ends in the St. Louis Fm. There.",
    ],
)
def test_abbreviations_initials_and_numbers_end_no_sentence(sentence: str) -> None:
    assert cut(f"{sentence} Next one.") == [sentence, "Next one."]


def test_marks_quotes_empty_lines_and_upper_case_do() -> None:
    assert cut('"Is it?" Yes! (See there.) 12 teeth.\n\nA title\n \nText') == [
        '"Is it?"',
        "Yes!",
        "(See there.)",
        "12 teeth.",
        "A title",
        "Text",
    ]
    assert cut("It was long. The end") == ["It was long.", "The end"]
    assert cut("one line\nand the next. so on") == ["one line\nand the next. so on"]
    assert cut(" \n ") == []


@given(st.text(alphabet='aT. !?\n"(e\u2026\u00a0', max_size=80))
def test_nothing_but_white_space_lies_between_sentences(text: str) -> None:
    before = 0
    for begin, end in [*cut_sentences(text), (len(text), len(text))]:
        assert not text[before:begin].strip()
        assert text[begin:end] == text[begin:end].strip()
        assert begin < end or begin == len(text)
        before = end
