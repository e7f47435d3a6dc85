"""From tags of tokens to entities in the raw text: windows, confidences, places."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.found import Said, at_border, cut_windows, is_doubtful, join_windows, read_entities
from runjob.data.labels import Tags
from runjob.data.normalize import Normalizer
from runjob.schemas.job_data import Normalize

BIO = Tags(labels=("TAXON", "TIME"), scheme="BIO")
BILOU = Tags(labels=("TAXON", "TIME"), scheme="BILOU")


def said(numbers: list[int], probabilities: list[float]) -> Said:
    return Said(numbers=numbers, probabilities=probabilities, margins=[0.5] * len(numbers))


@pytest.mark.parametrize(("tags", "numbers"), [(BIO, [1, 2, 0, 3]), (BILOU, [1, 3, 0, 8])])
def test_confidence_is_the_mean_of_the_probabilities_of_the_tags(tags: Tags, numbers: list[int]) -> None:
    text, offsets = "Elrathia kingii, Cambrian", [(0, 8), (8, 15), (15, 16), (16, 25)]
    found = read_entities(text, offsets, said(numbers, [0.5, 0.75, 0.9, 0.25]), tags)
    assert [(text[one.begin : one.end], tags.labels[one.label], one.confidence) for one in found] == [
        ("Elrathia kingii", "TAXON", 0.625),
        ("Cambrian", "TIME", 0.25),
    ]


def test_tags_are_read_to_the_letter_and_white_space_names_nothing() -> None:
    assert read_entities("a b", [(0, 1), (1, 2), (2, 3)], said([2, 3, 0], [1.0] * 3), BIO) == []
    assert read_entities("a b", [(0, 1), (1, 2), (2, 3)], said([1, 0, 2], [1.0] * 3), BILOU) == []


def test_an_entity_is_where_its_first_and_last_character_came_from() -> None:
    settings = Normalize(unicode="NFKC", whitespace="collapse", lowercase=False, idn=None, join_terms=True)
    raw = "In \u00a0 e\u0301arly  Late \n Cretaceous \ufb01ne"
    aligned = Normalizer(settings, terms=["Late_Cretaceous"]).align(raw)
    place = aligned.text.index("Late_Cretaceous")
    offsets = [(3, 4), (place, place + 15), (place + 17, place + 18)]
    found = read_entities(aligned.text, offsets, said([1, 3, 1], [1.0] * 3), BIO)
    ends = [one.raw(aligned) for one in found]
    assert [raw[begin:end] for begin, end in ends] == ["e\u0301", "Late \n Cretaceous", "\ufb01"]


@given(st.text("ab ", min_size=1, max_size=200), st.integers(4, 30))
def test_windows_cover_all_tokens_and_share_a_quarter(text: str, longest: int) -> None:
    windows = cut_windows(text, [(place, place + 1) for place in range(len(text))], longest=longest)
    assert (windows[0][0], windows[-1][1]) == (0, len(text))
    for (first, end), (begins, ends) in itertools.pairwise(windows):
        assert first < begins < end <= ends
        assert max(end - first, ends - begins) <= longest
        assert end - begins >= longest // 4


def test_a_token_is_what_the_window_says_in_which_it_is_furthest_from_a_cut() -> None:
    whole = join_windows([(0, 4), (2, 6)], [said([1, 1, 1, 1], [0.1] * 4), said([2, 2, 2, 2], [0.2] * 4)])
    assert list(whole.numbers) == [1, 1, 1, 2, 2, 2]
    assert list(whole.probabilities) == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2]


def test_what_rounding_may_change_is_doubtful_and_nothing_else() -> None:
    text, offsets = "abc", [(0, 3)]
    for probability, doubtful in ((0.9, False), (0.9005, True), (0.900519, True), (0.90053, False)):
        one = said([1], [probability])
        assert is_doubtful(one, read_entities(text, offsets, one, BIO)) is doubtful, probability
    close = Said(numbers=[0], probabilities=[0.5], margins=[0.00009])
    assert is_doubtful(close, [])


@given(st.floats(0, 1), st.floats(-0.99e-5, 0.99e-5))
def test_a_confidence_without_doubt_is_written_alike_however_it_was_rounded_on_the_way(
    confidence: float, noise: float
) -> None:
    if not at_border(confidence):
        assert round(confidence, 3) == round(confidence + noise, 3)
