"""Two texts a row: read, kept together, cut in whole groups."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.batches import IGNORED
from runjob.data.corpus import open_corpus
from runjob.data.cut import Limit, cut_by_length, cut_rows
from runjob.data.order import Order
from runjob.data.prepare import prepare
from runjob.data.rows import DocumentRows
from runjob.data.store import Store
from runjob.data.stream import EvaluationStream, TrainStream
from runjob.data.text_pair_rows import TextPairRows
from runjob.data.text_pairs import TextPairing, text_pair_reader
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import HashSplit, PretrainedTokenizer, TrainedWordPiece

PAIRING = TextPairing(field="positive")
WORDPIECE = TrainedWordPiece(kind="train", algorithm="wordpiece", vocab_size=80, lowercase=True, marks="bert", terms={})
DUTCH = PretrainedTokenizer(kind="pretrained", path="sample:dutch", revision=None, terms={})
PAIRS = [
    ("trilobite", "an extinct arthropod"),
    ("crinoid", "a sea lily"),
    ("sea lily", "a stalked crinoid of the deep sea, of which most kinds are extinct"),
    ("ammonite", "a coiled shell"),
    ("ammonoid", "a coiled shell"),
    ("fossil", "a remnant of a living thing in rock"),
    ("belemnite", "a cone of an extinct squid"),
    ("shale", "a rock of clay"),
] * 4


@pytest.fixture
def pairs(make_jsonl, tmp_path):
    """The data section of PAIRS, with what is changed."""

    def make(rows=PAIRS, **changed):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in rows))
        data = make_jsonl(path, field="anchor", tokenizer=WORDPIECE)
        split = HashSplit(kind="hash", validation=0.3, test=None)
        return dataclasses.replace(
            data, target="positive", layout="lines", long_documents="truncate", split=split, **changed
        )

    return make


def read(**row):
    return text_pair_reader("anchor", PAIRING)(json.dumps(row).encode())


def test_a_row_is_two_documents_the_second_of_which_decides_the_side_of_both():
    first, second = read(anchor="trilobite", positive="an extinct arthropod")
    assert [(one.text, one.number) for one in (first, second)] == [("trilobite", 0), ("an extinct arthropod", 1)]
    assert first.whole == second.whole == "an extinct arthropod"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"anchor": "a"}, "has no field 'positive', but 'anchor'"),
        ({"anchor": "a", "positive": ["b"]}, "field 'positive' is an array and not a string"),
        ({"anchor": "a", "positive": " \n"}, "field 'positive' holds no text"),
        ({"anchor": "", "positive": "b"}, "field 'anchor' holds no text"),
        ({"anchor": "a", "positive": "b\0"}, "field 'positive' holds the character NUL, which no text does"),
    ],
)
def test_a_row_that_lacks_a_text_is_refused_whole(row, said):
    with pytest.raises(ValueError) as caught:
        read(**row)
    assert str(caught.value) == said


def open_side(data, tmp_path, no_report, side="train"):
    store = Store.open(prepare(data, seed=3, cache=tmp_path / "cache", report=no_report, labelling=PAIRING).path)
    tokenizer = store.summary.tokenizer
    return store, TextPairRows(DocumentRows(getattr(store, side), 6, truncate=True, eos=False), tokenizer)


def decoded(store, rows):
    from runjob.data.tokenizers import load_saved

    tokenizer = load_saved(store.tokenizer)
    return [tuple(tokenizer.decode(ids, skip_special_tokens=True) for ids in rows.texts(n)) for n in range(len(rows))]


@pytest.mark.parametrize("changed", [{}, {"deduplicate": True}, {"min_length": 12}, {"token_budget": 41}])
def test_no_choice_of_data_parts_two_texts(changed, pairs, tmp_path, no_report):
    data = pairs(rows=[(a, p[:14]) for a, p in PAIRS], **changed)
    store, rows = open_side(data, tmp_path, no_report)
    allowed = {(a, p[:14].strip()) for a, p in PAIRS}
    assert set(decoded(store, rows)) <= allowed
    assert len(rows) == store.train.summary.documents // 2 > 2
    if changed.get("deduplicate"):
        validation = open_side(data, tmp_path, no_report, "validation")[1]
        assert len(rows) + len(validation) == len(allowed), "a target of two anchors is no copy"


@pytest.mark.parametrize(
    ("validation", "budget", "said"),
    [
        (0.0001, None, "raise data.split.validation above 0.0001, or name files of its own: split: {kind: files"),
        (0.01, "4", r"data.token_budget: 4 is reached .* before the first one for validation; raise it$"),
    ],
)
def test_an_empty_side_is_not_answered_with_a_split_that_parts_two_texts(
    validation, budget, said, pairs, tmp_path, no_report
):
    data = dataclasses.replace(pairs(), split=HashSplit(kind="hash", validation=validation, test=None))
    data = dataclasses.replace(data, token_budget=budget, tokenizer=DUTCH)
    with pytest.raises(DataError, match=said) as refused:
        prepare(data, seed=2, cache=tmp_path / "cache", report=no_report, labelling=PAIRING)
    assert "first, " not in str(refused.value)


def test_a_target_of_two_anchors_is_on_one_side(pairs, tmp_path, no_report):
    sides = [decoded(*open_side(pairs(), tmp_path, no_report, side)) for side in ("train", "validation")]
    targets = [{target for _, target in side} for side in sides]
    assert all(targets)
    assert not targets[0] & targets[1]


def test_a_row_holds_both_texts_between_their_marks_and_its_number_where_the_second_begins(pairs, tmp_path, no_report):
    store, rows = open_side(pairs(), tmp_path, no_report)
    tokenizer = store.summary.tokenizer
    for number in range(len(rows)):
        row, (first, second) = rows.row(number, position=None), rows.texts(number)
        assert row.input_ids.tolist() == [*first, *second]
        assert all((text[0], text[-1]) == (tokenizer.cls_id, tokenizer.sep_id) for text in (first, second))
        assert np.flatnonzero(row.labels != IGNORED).tolist() == [len(first)]
        assert row.labels[len(first)] == number
        assert rows.lengths(np.array([number])).tolist() == [len(row.input_ids)]
        assert max(len(first), len(second)) <= rows.sequence_length == 8
    with pytest.raises(IndexError):
        rows.row(len(rows), position=None)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.data())
def test_a_group_is_computed_together_whatever_the_ranks(group, micro, share, ranks, data):
    count = group * micro * share * ranks
    lengths = np.array(data.draw(st.lists(st.integers(1, 50), min_size=count, max_size=count)))
    limit = Limit(rows=group * micro, tokens=None, group=group)
    cut = cut_by_length(lengths, ranks=ranks, limit=limit)
    found = []
    for rank in range(ranks):
        for part in cut.micro_batches(rank):
            assert len(part) <= group * micro
            found += [tuple(one) for one in part.reshape(-1, group).tolist()]
    assert sorted(found) == [tuple(range(first, first + group)) for first in range(0, count, group)]


@given(st.integers(2, 5), st.integers(1, 23))
def test_what_is_left_over_of_groups_is_evaluated_by_itself(group, count):
    parts = cut_rows(np.arange(count) % 7 + 1, limit=Limit(rows=2 * group, tokens=None, group=group))
    groups = [tuple(part[first : first + group]) for part in parts for first in range(0, len(part), group)]
    assert sorted(map(tuple, groups)) == [
        tuple(range(first, min(first + group, count))) for first in range(0, count, group)
    ]


@pytest.mark.parametrize(("rows", "tokens"), [(6, None), (None, 100)])
def test_a_limit_parts_no_group(rows, tokens):
    with pytest.raises(ValueError, match="a multiple of the group"):
        Limit(rows=rows, tokens=tokens, group=4)


def test_groups_are_of_neighbouring_places_in_the_order_on_any_ranks(pairs, tmp_path, no_report):
    rows = open_side(pairs(), tmp_path, no_report)[1]
    limit, order = Limit(rows=4, tokens=None, group=2), Order(len(rows), 5)
    wanted = {tuple(order.rows_at(first, 2).tolist()) for first in range(8, 16, 2)}
    for ranks in (1, 2, 4):
        found = set()
        for rank in range(ranks):
            stream = TrainStream(rows, order, global_batch=8, limit=limit, rank=rank, ranks=ranks)
            for micro in stream.step(2).micro_batches:
                labels = micro.tensors["labels"].numpy()
                numbers = labels[labels != IGNORED].tolist()
                found |= {tuple(numbers[first : first + 2]) for first in range(0, len(numbers), 2)}
            stream.close()
        assert found == wanted


def test_an_evaluation_has_every_row_once_and_its_groups_are_rows_one_after_another(pairs, tmp_path, no_report):
    rows = open_side(pairs(), tmp_path, no_report)[1]
    limit = Limit(rows=6, tokens=None, group=3)
    seen = []
    for micro in EvaluationStream(rows, span=range(len(rows)), limit=limit, rank=0, ranks=1):
        labels = micro.tensors["labels"].numpy()
        seen += labels[labels != IGNORED].reshape(-1).tolist()
    firsts = [seen[first : first + 3] for first in range(0, len(seen), 3)]
    assert sorted(seen) == list(range(len(rows)))
    assert all(part == list(range(part[0], part[0] + len(part))) for part in firsts)
    assert open_corpus(pairs(), labelling=PAIRING).total > 0
