"""One text a row: every document once, its number at its first token, whichever label stands beside it."""

import numpy as np
import pytest

from runjob.data.batches import IGNORED
from runjob.data.prepare import prepare
from runjob.data.rows import DocumentRows
from runjob.data.store import Store
from runjob.data.text_rows import TextRows
from tests.data.test_text_pairs import pairs as pairs  # a fixture


def test_a_row_is_a_text_between_its_marks_and_has_its_number_at_its_first_token(pairs, tmp_path, no_report):
    store = Store.open(prepare(pairs(), seed=3, cache=tmp_path / "cache", report=no_report).path)
    tokenizer = store.summary.tokenizer
    rows = TextRows(DocumentRows(store.train, 6, truncate=True, eos=False), tokenizer)
    assert len(rows) == store.train.summary.documents > 4
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        assert (row.input_ids[0], row.input_ids[-1]) == (tokenizer.cls_id, tokenizer.sep_id)
        assert row.labels.tolist() == [number] + [IGNORED] * (len(row.input_ids) - 1)
        assert rows.lengths(np.array([number])).tolist() == [len(row.input_ids)]
        assert len(row.input_ids) <= rows.sequence_length == 8
    with pytest.raises(IndexError):
        rows.row(len(rows), position=None)
