"""Rows of a masked model: framed as a text is when it is read, all of the text in them once, hidden by position."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from runjob.data.corruptions import IGNORED, Masking
from runjob.data.masked_rows import MaskedRows, build_masking, marks_of
from runjob.data.rows import DocumentRows, PackedRows
from runjob.data.store import TokenizerSummary
from runjob.schemas.errors import JobError
from runjob.schemas.job_model import MaskedLM, Replace

EOS, CLS, SEP, MASK = 9, 50, 9, 51
WORDS = TokenizerSummary(fingerprint="", vocab_size=52, eos_id=EOS, pad_id=None, cls_id=CLS, sep_id=SEP, mask_id=MASK)
ALL = Replace(mask=1.0, random=0.0, keep=0.0)
MASKING = Masking(
    probability=0.4,
    replace=ALL,
    span=None,
    mask_id=MASK,
    special=np.isin(np.arange(52), (EOS, CLS, MASK)),
    ordinary=np.setdiff1d(np.arange(50), [EOS]),
    boundaries=None,
)
DOCUMENTS = [[1, 2, 3], [4], [5, 6, 7, 8, 10, 11, 12], [13, 14]]


def original(rows: MaskedRows, number: int, *, position: int | None = None) -> list[int]:
    row = rows.row(number, position=position)
    return np.where(row.labels != IGNORED, row.labels, row.input_ids).tolist()


def test_packed_rows_are_the_stream_between_the_marks(make_side):
    rows = MaskedRows(PackedRows(make_side(DOCUMENTS), 6), WORDS, MASKING, seed=1)
    assert marks_of(WORDS) == 2
    assert rows.sequence_length == 8
    assert [original(rows, number) for number in range(len(rows))] == [
        [CLS, 1, 2, 3, EOS, 4, EOS, SEP],
        [CLS, 5, 6, 7, 8, 10, 11, SEP],
        [CLS, 12, EOS, 13, 14, EOS, SEP],
    ]
    assert rows.lengths(np.arange(3)).tolist() == [8, 8, 7]


def test_lines_are_a_document_each_between_the_marks(make_side):
    side = make_side(DOCUMENTS)
    split = MaskedRows(DocumentRows(side, 4, truncate=False, eos=False), WORDS, MASKING, seed=1)
    assert [original(split, number) for number in range(len(split))] == [
        [CLS, 1, 2, 3, SEP],
        [CLS, 4, SEP],
        [CLS, 5, 6, 7, 8, SEP],
        [CLS, 10, 11, 12, SEP],
        [CLS, 13, 14, SEP],
    ]
    assert split.lengths(np.arange(5)).tolist() == [5, 3, 6, 5, 4]
    assert split.bucketed
    cut = MaskedRows(DocumentRows(side, 4, truncate=True, eos=False), WORDS, MASKING, seed=1)
    assert len(cut) == 4
    assert original(cut, 2) == [CLS, 5, 6, 7, 8, SEP]


def test_a_tokenizer_without_marks_gives_rows_without(make_side):
    bare = TokenizerSummary(**{**vars(WORDS), "cls_id": None, "sep_id": None})
    rows = MaskedRows(PackedRows(make_side(DOCUMENTS), 6), bare, MASKING, seed=1)
    assert marks_of(bare) == 0
    assert original(rows, 0) == [1, 2, 3, EOS, 4, EOS]


def test_training_hides_by_position_and_evaluation_the_same_every_time(make_side):
    side = make_side([list(range(10, 50))] * 3)
    rows = MaskedRows(PackedRows(side, 60), WORDS, MASKING, seed=1)
    other = MaskedRows(PackedRows(side, 60), WORDS, MASKING, seed=2)

    def hidden(rows: MaskedRows, position: int | None) -> list[int]:
        row = rows.row(1, position=position)
        assert (row.input_ids[row.labels != IGNORED] == MASK).all()
        return row.labels.tolist()

    assert hidden(rows, 5) == hidden(rows, 5)
    assert hidden(rows, None) == hidden(rows, None)
    different = [hidden(rows, 5), hidden(rows, 6), hidden(rows, None), hidden(rows, 1), hidden(other, 5)]
    assert len({str(labels) for labels in different}) == 5
    assert original(rows, 1, position=5) == original(rows, 1, position=6)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    engine = Tokenizer(models.WordPiece({"[UNK]": 0, "[MASK]": 1, "[SEP]": 2, "a": 5, "##b": 7}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=engine, unk_token="[UNK]", mask_token="[MASK]", sep_token="[SEP]")


def masked(unit: str) -> MaskedLM:
    return MaskedLM(kind="mlm", unit=unit, probability=0.2, replace=ALL, span=None)  # type: ignore[arg-type]


def test_special_ids_are_never_hidden_nor_drawn_and_gaps_in_a_vocabulary_are_no_tokens(tokenizer):
    masking = build_masking(masked("word"), tokenizer)
    assert np.flatnonzero(masking.special).tolist() == [0, 1, 2]
    assert masking.ordinary.tolist() == [5, 7]
    assert (masking.mask_id, masking.probability) == (1, 0.2)
    assert masking.boundaries.opens[[5, 7]].tolist() == [True, False]
    assert build_masking(masked("token"), tokenizer).boundaries is None


def test_a_tokenizer_without_a_mask_is_refused(tokenizer, tmp_path: Path):
    tokenizer.mask_token = None
    with pytest.raises(JobError, match=r"data\.tokenizer: it has no mask token, which objective mlm needs"):
        build_masking(masked("token"), tokenizer)
