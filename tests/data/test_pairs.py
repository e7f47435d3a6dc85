"""Pairs of spans: which are asked about, how they are marked, on which side they are, what rows say of them."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.corpus import open_corpus
from runjob.data.labels import Span
from runjob.data.pair_rows import PairRows
from runjob.data.pairs import MARKERS, Pairing, Relations, kept, mark_pair, pair_reader
from runjob.data.prepare import prepare
from runjob.data.rows import DocumentRows
from runjob.data.samples import locate
from runjob.data.selection import Selection
from runjob.data.store import Store
from runjob.data.tokenizers import backend_for_corpus, load_saved, train
from runjob.data.vocabulary import add_markers
from runjob.schemas.job_data import Filter, HashSplit, TrainedTokenizer, TrainedUnigram, TrainedWordPiece

PAIRING = Pairing(
    field="entities",
    relations="relations",
    labels=("OCCURS_IN", "PART_OF"),
    types=None,
    max_distance=None,
    no_relation=1.0,
    seed=1,
)
TEXT = "Olenellus of the lower Cambrian"
ENTITIES = [{"start": 23, "end": 31, "label": "TIME"}, {"start": 0, "end": 9, "label": "TAXON"}]
RELATIONS = [{"head": 1, "tail": 0, "label": "OCCURS_IN"}]
MARKED = "its text holds [E1], which marks the spans of a pair; write it otherwise there"
WORDPIECE = TrainedWordPiece(
    kind="train", algorithm="wordpiece", vocab_size=300, lowercase=True, marks="bert", terms={}
)


def read(pairing=PAIRING, **changed):
    row = {"text": TEXT, "entities": ENTITIES, "relations": RELATIONS} | changed
    return pair_reader("text", pairing)(json.dumps(row).encode())


def test_every_two_spans_are_asked_about_in_both_orders_and_spans_are_counted_as_the_file_has_them():
    assert [(one.text, one.number) for one in read()] == [
        ("[E2] Olenellus [/E2] of the lower [E1] Cambrian [/E1]", 0),
        ("[E1] Olenellus [/E1] of the lower [E2] Cambrian [/E2]", 1),
    ]
    assert {one.whole for one in read()} == {TEXT}


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"types": ("TAXON>TIME",)}, [1]),
        ({"types": ("TIME>TIME",)}, []),
        ({"max_distance": 14}, [0, 1]),  # " of the lower " has fourteen characters
        ({"max_distance": 13}, []),
    ],
)
def test_pairs_of_other_types_and_those_too_far_apart_are_not_asked_about(changed, asked):
    assert [one.number for one in read(dataclasses.replace(PAIRING, **changed))] == asked


@given(st.text("ab [", min_size=4, max_size=12), st.sets(st.integers(0, 12), min_size=4, max_size=4))
def test_a_marked_text_without_its_marks_is_the_text(text, places):
    text = text.ljust(12, "a")
    a, b, c, d = sorted(places)
    for head, tail in (((a, b), (c, d)), ((c, d), (a, b))):
        spans = [Span(begin=begin, end=end, label="X") for begin, end in (head, tail)]
        marked = mark_pair(text, *spans)
        for opening, closing in (("[E1] ", " [/E1]"), ("[E2] ", " [/E2]")):
            assert marked.count(opening) == marked.count(closing) == 1
            marked = marked.replace(opening, "", 1).replace(closing, "", 1)
        assert marked == text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"relations": 3}, "field 'relations' is a number and not a list of relations"),
        ({"relations": [1]}, "relations[0] is a number and not a relation {'head': 0, 'tail': 2, 'label': ...}"),
        ({"relations": [{"head": 0, "tail": 1}]}, "relations[0] has no field 'label', but 'head', 'tail'"),
        (
            {"relations": [{"head": 0, "tail": 2, "label": "PART_OF"}]},
            "relations[0].tail is 2 and not the number of one of 2 spans, from 0",
        ),
        ({"relations": [{"head": 0, "tail": 0, "label": "PART_OF"}]}, "relations[0]: span 0 is related to itself"),
        (
            {"relations": [{"head": 0, "tail": 1, "label": "EATS"}]},
            "relations[0]: 'EATS' is none of objective.labels: OCCURS_IN, PART_OF",
        ),
        (
            {"relations": [*RELATIONS, {"head": 1, "tail": 0, "label": "PART_OF"}]},
            "relations[1]: spans 1 and 0 are related already; a pair has one relation",
        ),
        ({"relations": [RELATIONS[0] | {"label": None}]}, "relations[0].label is null and not a string"),
        (
            {"text": f"{TEXT} \uff3bE1\uff3d"},
            "its text holds [E1], which marks the spans of a pair; write it otherwise there",
        ),
        ({"text": f"{TEXT} [E1]"}, MARKED),
    ],
)
def test_a_row_that_says_no_relations_is_named(changed, said):
    with pytest.raises(ValueError) as error:
        read(**changed)
    assert str(error.value) == said


def test_which_pairs_without_a_relation_stay_is_of_the_seed_and_the_pair_and_a_larger_share_only_adds():
    pairs = [f"[E1] a{number} [/E1] [E2] b [/E2]" for number in range(2000)]
    shares = {share: {pair for pair in pairs if kept(pair, share=share, seed=1)} for share in (0.1, 0.3, 1.0)}
    assert shares[0.1] < shares[0.3] < shares[1.0] == set(pairs)
    assert 150 < len(shares[0.1]) < 250
    assert shares[0.3] != {pair for pair in pairs if kept(pair, share=0.3, seed=2)}


def sides(tmp_path, make_jsonl, no_report, **changed):
    """A store of the gold sentences' pairs, and its tokenizer."""
    labels = ("OCCURS_IN", "IS_A", "MEMBER_OF", "PART_OF")
    pairing = dataclasses.replace(PAIRING, labels=labels, max_distance=60, **changed)
    data = dataclasses.replace(
        make_jsonl(str(locate("paleo_gold")), target="entities", relations="relations", tokenizer=WORDPIECE),
        long_documents="truncate",
        split=HashSplit(kind="hash", validation=0.3, test=None),
    )
    made = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=pairing)
    store = Store.open(made.path)
    store.verify()
    return store, load_saved(store.tokenizer)


def texts_of(side, tokenizer) -> list[str]:
    """Every document, and without its marks."""
    edges = list(side.offsets)
    return [tokenizer.decode(side.read(int(a), int(b) - 1)) for a, b in itertools.pairwise(edges)]


def bare(text: str) -> str:
    for marker in MARKERS:
        text = text.replace(marker, " ")
    return "".join(text.split())


def test_all_pairs_of_a_text_are_on_one_side_and_training_alone_leaves_some_out(tmp_path, make_jsonl, no_report):
    whole, tokenizer = sides(tmp_path, make_jsonl, no_report)
    fewer, other = sides(tmp_path, make_jsonl, no_report, no_relation=0.2)
    train, held = (set(map(bare, texts_of(side, tokenizer))) for side in (whole.train, whole.validation))
    assert train
    assert held
    assert not train & held
    # (the tokenizer has seen fewer texts, so their tokens differ)
    assert list(map(bare, texts_of(fewer.validation, other))) == list(map(bare, texts_of(whole.validation, tokenizer)))
    assert fewer.summary.validation.labels == whole.summary.validation.labels
    before, after = (store.summary.train.labels.counts for store in (whole, fewer))
    assert after[1:] == before[1:]
    assert 0.1 * before[0] < after[0] < 0.3 * before[0]
    assert sum(before) == whole.summary.train.documents


def test_a_row_is_a_pair_between_the_tokenizers_marks_and_asks_once_at_the_mark_of_its_head(
    tmp_path, make_jsonl, no_report
):
    store, tokenizer = sides(tmp_path, make_jsonl, no_report)
    ids = {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS}
    assert sorted(ids.values()) == list(range(300, 304)), "each mark is one token, behind the trained ones"
    texts = DocumentRows(store.validation, 400, truncate=True, eos=False)
    rows = PairRows(texts, store.summary.tokenizer, ids)
    found = [0] * 5
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        [place] = [place for place, label in enumerate(row.labels.tolist()) if label >= 0]
        assert row.input_ids[place] == ids["[E1]"]
        assert [row.input_ids.tolist().count(id_) for id_ in ids.values()] == [1, 1, 1, 1]
        found[row.labels[place]] += 1
    assert tuple(found) == store.summary.validation.labels.counts
    assert rows.lengths(np.array([0]))[0] == len(rows.row(0, position=None).input_ids)
    short = PairRows(DocumentRows(store.validation, 2, truncate=True, eos=False), store.summary.tokenizer, ids)
    assert all((short.row(number, position=None).labels < 0).all() for number in range(len(short)))


@pytest.mark.parametrize(
    ("changed", "kept_texts"),
    [
        ({"filter": Filter(keep=None, drop=r"\[")}, 2),
        ({"filter": Filter(keep="^Olen", drop=None)}, 2),
        ({"min_length": len(TEXT) + 1}, 0),
    ],
)
def test_a_text_is_wanted_or_not_by_itself_and_not_by_its_marks(tmp_path, make_jsonl, changed, kept_texts):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": TEXT, "entities": ENTITIES, "relations": RELATIONS}) + "\n", encoding="utf-8")
    data = make_jsonl(file, target="entities", relations="relations")
    settings = {"normalize": str, "min_length": 0, "filter": Filter(keep=None, drop=None)} | changed
    found = list(Selection(open_corpus(data, labelling=PAIRING), **settings).documents())
    assert len(found) == kept_texts


def test_a_pair_is_where_its_normalised_text_would_be(tmp_path, make_jsonl):
    file = tmp_path / "a.jsonl"
    spaced = TEXT + "  x"
    row = {"text": spaced, "entities": ENTITIES, "relations": RELATIONS}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    data = make_jsonl(file, target="entities", relations="relations")
    collapse = lambda text: " ".join(text.split())  # noqa: E731
    chosen = Selection(
        open_corpus(data, labelling=PAIRING), normalize=collapse, min_length=0, filter=Filter(keep=None, drop=None)
    )
    assert {document.unmarked for _, document in chosen.documents()} == {TEXT + " x"}


def test_a_pair_that_is_labelled_otherwise_is_no_copy(tmp_path, make_jsonl):
    rows = [{"text": TEXT, "entities": ENTITIES, "relations": some} for some in ([], RELATIONS, RELATIONS)]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = make_jsonl(file, target="entities", relations="relations")
    chosen = Selection(
        open_corpus(data, labelling=PAIRING), normalize=str, min_length=0, filter=Filter(keep=None, drop=None)
    )
    chosen.leave_out_copies(scratch=tmp_path, advance=lambda: None)
    assert sorted(document.labelled.number for _, document in chosen.documents()) == [0, 0, 1]


def test_of_a_pair_whose_last_mark_is_cut_off_nothing_is_asked(tmp_path, make_jsonl, no_report):
    store, tokenizer = sides(tmp_path, make_jsonl, no_report)
    ids = {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS}
    for length in (6, 12, 24):
        rows = PairRows(DocumentRows(store.validation, length, truncate=True, eos=False), store.summary.tokenizer, ids)
        for number in range(len(rows)):
            row = rows.row(number, position=None)
            whole = all((row.input_ids == one).any() for one in ids.values())
            assert (row.labels >= 0).sum() == whole


def test_classes_and_outputs_have_their_names():
    relations = Relations(labels=("IS_A",))
    assert relations.names == ("NO_RELATION", "IS_A")
    assert relations.outputs == ("E1:NO_RELATION", "E1:IS_A", "E2:NO_RELATION", "E2:IS_A")


TOKENIZERS = [
    TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=300, terms={}),
    TrainedWordPiece(kind="train", algorithm="wordpiece", vocab_size=60, lowercase=False, marks="bert", terms={}),
    TrainedUnigram(kind="train", algorithm="unigram", vocab_size=60, lowercase=False, terms={}),
]


@pytest.mark.parametrize("settings", TOKENIZERS, ids=lambda settings: settings.algorithm)
def test_words_beside_a_mark_are_cut_as_they_are_in_the_text(settings):
    texts = ["the wing of a bird is a limb", "a fossil of the Cambrian", "wing and bird and shell"] * 30
    plain = train(lambda: iter(texts), settings)
    marked = add_markers(plain, MARKERS)
    before = backend_for_corpus(plain).encode("the wing of a bird is", add_special_tokens=False).ids
    after = (
        backend_for_corpus(marked).encode("the [E1] wing [/E1] of a [E2] bird [/E2] is", add_special_tokens=False).ids
    )
    marks = marked.convert_tokens_to_ids(list(MARKERS))
    assert [id_ for id_ in after if id_ in marks] == marks
    assert [id_ for id_ in after if id_ not in marks] == before
