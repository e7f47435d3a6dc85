"""Masked rows with documents apart: a document begins at its own first token, and the row's marks go with its ends."""

import numpy as np
import pytest

from runjob.data.corruptions import Masking
from runjob.data.masked_rows import MaskedRows
from runjob.data.rows import PackedRows
from runjob.data.store import TokenizerSummary
from runjob.schemas.job_model import Replace

CLS, SEP, MASK, EOS = 10, 11, 12, 9
MASKING = Masking(
    probability=0.5,
    replace=Replace(mask=1.0, random=0.0, keep=0.0),
    span=None,
    mask_id=MASK,
    special=np.arange(13) >= EOS,
    ordinary=np.arange(EOS),
    boundaries=None,
)


def masked(texts: PackedRows, *, framed: bool) -> MaskedRows:
    cls, sep = (CLS, SEP) if framed else (None, None)
    tokenizer = TokenizerSummary(
        fingerprint="", vocab_size=13, eos_id=EOS, pad_id=0, cls_id=cls, sep_id=sep, mask_id=MASK
    )
    return MaskedRows(texts, tokenizer, MASKING, seed=1)


def read(rows: MaskedRows) -> list[tuple[list[int], list[int] | None]]:
    """Of every row, its ids before they were hidden, and the places in their documents."""
    every = [rows.row(number, position=None) for number in range(len(rows))]
    return [
        (
            np.where(row.labels >= 0, row.labels, row.input_ids).tolist(),
            None if row.position_ids is None else row.position_ids.tolist(),
        )
        for row in every
    ]


def test_documents_apart_begin_at_their_first_token(make_side):
    side = make_side([[1, 2], [3], [4, 5, 6], [7, 8]])
    assert read(masked(PackedRows(side, 6, apart=True), framed=True)) == [
        ([CLS, 1, 2, EOS, 3, EOS, 4, SEP], [0, 1, 2, 3, 0, 1, 0, 1]),
        ([CLS, 5, 6, EOS, 7, 8, EOS, SEP], [0, 1, 2, 3, 0, 1, 2, 3]),
    ]
    assert read(masked(PackedRows(side, 5, apart=True), framed=False)) == [
        ([1, 2, EOS, 3, EOS], [0, 1, 2, 0, 1]),
        ([4, 5, 6, EOS, 7], [0, 1, 2, 3, 0]),
        ([8, EOS], [0, 1]),
    ]


@pytest.mark.parametrize("length", [1, 2, 3, 12])
def test_a_row_of_one_document_counts_on_from_mark_to_mark(make_side, length: int):
    side = make_side([[1, 2, 3, 4, 5, 6, 7]])
    for ids, places in read(masked(PackedRows(side, length, apart=True), framed=True)):
        assert places == list(range(len(ids)))


def test_without_documents_apart_a_row_says_nothing_of_places(make_side):
    rows = masked(PackedRows(make_side([[1, 2], [3]]), 4), framed=True)
    assert [places for _, places in read(rows)] == [None, None]
