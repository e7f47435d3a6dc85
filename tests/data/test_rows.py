"""Rows: every token learnt once, in both layouts, and where documents begin."""

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.rows import STRIDE, DocumentRows, PackedRows, Pieces, Rows
from runjob.data.store import SectionSummary, Side, SideSummary

EOS = 0
MakeSections = Callable[[Sequence[Sequence[int]]], Side]


@pytest.fixture(scope="module")
def make_sections(tmp_path_factory: pytest.TempPathFactory) -> MakeSections:
    """A side of documents with these lengths, section by section; tokens count up from 1, EOS is 0."""

    def make(sections: Sequence[Sequence[int]]) -> Side:
        path = tmp_path_factory.mktemp("side")
        lengths = list(chain.from_iterable(sections))
        stream, token = [EOS], 0
        for length in lengths:
            stream += [*range(token + 1, token + 1 + length), EOS]
            token += length
        np.array(stream, dtype="<u4").tofile(path / "tokens.bin")
        np.save(path / "offsets.npy", np.array([1, *accumulate((length + 1 for length in lengths), initial=1)][1:]))
        summaries = [
            SectionSummary(documents=len(section), predicted=sum(section) + len(section), bytes=1, words=1)
            for section in sections
        ]
        return Side(path, summary=SideSummary.of(*summaries), token_type="uint32")

    return make


SECTIONS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=20), min_size=1, max_size=3)


def read(rows: Rows) -> list[tuple[list[int], list[int]]]:
    every = [rows.row(number, position=None) for number in range(len(rows))]
    return [(row.input_ids.tolist(), row.labels.tolist()) for row in every]


def pairs(rows: Rows) -> list[tuple[int, int]]:
    """Every (token, next token) that is learnt."""
    return [pair for inputs, labels in read(rows) for pair in zip(inputs, labels, strict=True)]


def test_packed_rows_are_the_stream_cut_end_to_end_with_the_next_token_as_label(make_side):
    rows = PackedRows(make_side([[1, 2], [3], [4, 5, 6]]), 4)
    # the stream: 9 1 2 9 3 9 4 5 6 9
    assert read(rows) == [([9, 1, 2, 9], [1, 2, 9, 3]), ([3, 9, 4, 5], [9, 4, 5, 6]), ([6], [9])]
    assert (rows.predicted, rows.bytes, rows.sections) == (9, 6, (3,))
    assert rows.row(0).input_ids.dtype == rows.row(0).labels.dtype == np.int64


def test_rows_of_lines_are_documents_opened_by_the_token_before_and_closed_by_their_own(make_side):
    side = make_side([[1, 2], [3], [4, 5, 6, 7, 8]])
    assert read(DocumentRows(side, 6, truncate=False)) == [
        ([9, 1, 2], [1, 2, 9]),
        ([9, 3], [3, 9]),
        ([9, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8, 9]),
    ]


def test_a_long_document_goes_on_in_the_next_row_or_is_cut_where_the_job_says_so(make_side):
    side = make_side([[1], [2, 3, 4, 5, 6], [7]])
    split, cut = DocumentRows(side, 4, truncate=False), DocumentRows(side, 4, truncate=True)
    assert read(split) == [([9, 1], [1, 9]), ([9, 2, 3, 4], [2, 3, 4, 5]), ([5, 6], [6, 9]), ([9, 7], [7, 9])]
    assert read(cut) == [([9, 1], [1, 9]), ([9, 2, 3, 4], [2, 3, 4, 5]), ([9, 7], [7, 9])]
    assert (split.predicted, cut.predicted) == (10, 8)
    assert (split.pieces.left_out, cut.pieces.left_out) == (0, 2)
    assert (split.bytes, cut.bytes) == (side.summary.bytes, 0)


@settings(max_examples=60, deadline=None)
@given(sections=SECTIONS, length=st.integers(1, 12))
def test_both_layouts_learn_the_same_pairs_each_exactly_once(make_sections, sections, length: int):
    side = make_sections(sections)
    packed, lines = PackedRows(side, length), DocumentRows(side, length, truncate=False)
    stream = side.tokens.tolist()
    assert pairs(packed) == pairs(lines) == list(pairwise(stream))
    assert packed.predicted == lines.predicted == len(stream) - 1
    assert sum(label == EOS for _, label in pairs(lines)) == side.summary.documents
    for rows in (packed, lines):
        numbers = np.arange(len(rows))
        assert rows.lengths(numbers).tolist() == [len(inputs) for inputs, _ in read(rows)]
        assert sum(rows.sections) == len(rows)
        with pytest.raises(IndexError):
            rows.row(len(rows))


@settings(max_examples=40, deadline=None)
@given(sections=SECTIONS, length=st.integers(1, 12))
def test_no_row_runs_from_one_source_into_the_next(make_sections, sections, length: int):
    side = make_sections(sections)
    for rows in (PackedRows(side, length), DocumentRows(side, length, truncate=False)):
        first = 0
        for count, section in zip(rows.sections, sections, strict=True):
            labels = [label for inputs, labels in read(rows)[first : first + count] for label in labels]
            assert len(labels) == sum(section) + len(section)
            first += count


@settings(max_examples=60, deadline=None)
@given(sections=SECTIONS, length=st.integers(1, 12))
def test_documents_apart_begin_at_the_token_that_opens_them(make_sections, sections, length: int):
    side = make_sections(sections)
    for number in range(len(rows := PackedRows(side, length, apart=True))):
        row = rows.row(number)
        place, expected = 0, []
        for index, token in enumerate(row.input_ids.tolist()):
            place = 0 if token == EOS or index == 0 else place + 1
            expected.append(place)
        assert row.position_ids is not None
        assert row.position_ids.tolist() == expected


def test_an_end_token_inside_a_document_opens_none(make_side):
    """A tokenizer may make EOS of a document's own text; where documents begin is known from the store."""
    rows = PackedRows(make_side([[1, 9, 2], [3]]), 8, apart=True)
    assert rows.row(0).input_ids.tolist() == [9, 1, 9, 2, 9, 3]
    positions = rows.row(0).position_ids
    assert positions is not None
    assert positions.tolist() == [0, 1, 2, 3, 0, 1]


def test_pieces_are_found_across_every_stride_of_the_index(make_sections):
    lengths = [1 + number * 7 % 23 for number in range(3 * STRIDE + 5)]
    side = make_sections([lengths[:1500], lengths[1500:]])
    pieces = Pieces(side, 8, eos=False, truncate=False)
    expected = [
        (offset + cut, min(offset + cut + 8, offset + length))
        for offset, length in zip(side.offsets.tolist(), lengths, strict=False)
        for cut in range(0, length, 8)
    ]
    starts, ends = pieces.spans(np.arange(len(pieces)))
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected
    shuffled = np.random.default_rng(1).permutation(len(pieces))
    assert np.array_equal(pieces.spans(shuffled)[0], starts[shuffled])
    assert pieces.sections == (
        sum(-(-length // 8) for length in lengths[:1500]),
        sum(-(-length // 8) for length in lengths[1500:]),
    )
    assert pieces.tokens == sum(lengths)


def test_truncated_pieces_are_as_many_as_documents_and_say_what_they_leave_out(make_sections):
    side = make_sections([[3, 8, 20]])
    pieces = Pieces(side, 8, eos=False, truncate=True)
    starts, ends = pieces.spans(np.arange(len(pieces)))
    assert (ends - starts).tolist() == [3, 8, 8]
    assert (pieces.tokens, pieces.left_out) == (19, 12)


def test_a_row_needs_a_length(make_side, tmp_path: Path):
    side = make_side([[1]])
    with pytest.raises(ValueError, match="at least one token"):
        PackedRows(side, 0)
    with pytest.raises(ValueError, match="at least one token"):
        DocumentRows(side, 0, truncate=False)
