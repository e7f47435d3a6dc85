"""Labels beside the text: read with every mistake named, carried through what normalising changes, a number for each
token of the store, and read back to the letter."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.labelled_rows import LabelledRows
from runjob.data.labels import NONE, Labelled, Labelling, Span, Tags, carry, tag_tokens
from runjob.data.normalize import Normalizer
from runjob.data.prepare import prepare
from runjob.data.rows import DocumentRows
from runjob.data.sources import open_source
from runjob.data.store import Store, TokenizerSummary
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import ConllData, Normalize, TrainedWordPiece
from runjob.schemas.job_model import Scheme
from tests.data.conftest import BPE, HALF, PLAIN, MakeJsonl

LABELS = ("TAXON", "TIME")
LABELLING = Labelling(field="entities", labels=LABELS, scheme="BIO")
WORDPIECE = TrainedWordPiece(
    kind="train", algorithm="wordpiece", vocab_size=120, lowercase=False, marks="bert", terms={}
)
TEXT = "Olenellus of the lower Cambrian"
SPANS = [{"start": 0, "end": 9, "label": "TAXON"}, {"start": 17, "end": 31, "label": "TIME"}]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def said_of(path: Path, make_jsonl: MakeJsonl, entities: object) -> str:
    data = make_jsonl(write(path, {"text": TEXT, "entities": entities}), target="entities")
    with pytest.raises(DataError) as error:
        list(open_source(data, labelling=LABELLING).documents())
    return str(error.value).splitlines()[0].removeprefix(f"{path}:")


def test_spans_are_read_in_the_order_of_the_text_whatever_their_order_in_the_file(tmp_path, make_jsonl):
    data = make_jsonl(write(tmp_path / "a.jsonl", {"text": TEXT, "entities": SPANS[::-1]}), target="entities")
    [document] = open_source(data, labelling=LABELLING).documents()
    assert document.labelled == Labelled(
        text=TEXT, spans=(Span(begin=0, end=9, label="TAXON"), Span(begin=17, end=31, label="TIME"))
    )
    [plain] = open_source(data).documents()
    assert (plain.text, plain.labelled) == (TEXT, None)


@pytest.mark.parametrize(
    ("entities", "said"),
    [
        (None, "1: field 'entities' is null and not a list of spans"),
        (["x"], "1: entities[0] is a string and not a span {'start': 3, 'end': 9, 'label': ...}"),
        ([{"start": 0, "end": 9}], "1: entities[0] has no field 'label', but 'start', 'end'"),
        ([{"start": 0, "end": 9.0, "label": "TIME"}], "1: entities[0].end is a number and not a whole number of"),
        ([{"start": 0, "end": 99, "label": "TIME"}], "1: entities[0]: 0 to 99 is no span of a text of 31 characters"),
        ([{"start": 9, "end": 9, "label": "TIME"}], "1: entities[0]: 9 to 9 is no span of a text of 31 characters"),
        ([{"start": 16, "end": 22, "label": "TIME"}], "1: entities[0]: 16 to 22 (' lower') begins or ends with white"),
        ([{"start": 0, "end": 9, "label": None}], "1: entities[0].label is null and not a string"),
        ([{"start": 0, "end": 9, "label": "ROCK"}], "1: entities[0]: 'ROCK' is none of objective.labels: TAXON, TIME"),
        (
            [SPANS[1], {"start": 23, "end": 31, "label": "TIME"}],
            "1: entities[1]: 23 to 31 overlaps entities[0], 17 to 31; a token has one tag",
        ),
        (
            [{"start": 1, "end": 10, "label": "TAXON", "text": "Olenellus"}],
            "1: entities[0]: 1 to 10 ('lenellus ') begins or ends with white space",
        ),
        (
            [{"start": 1, "end": 9, "label": "TAXON", "text": "Olenellus"}],
            "1: entities[0]: start and end lead to 'lenellus', and its text is 'Olenellus'; they count characters",
        ),
    ],
)
def test_a_span_that_can_not_be_is_a_bad_row_of_its_file_and_line(tmp_path, make_jsonl, entities, said):
    assert said_of(tmp_path / "a.jsonl", make_jsonl, entities).startswith(said)


def test_bad_spans_count_among_the_rows_that_may_be_bad(tmp_path, make_jsonl):
    rows = [{"text": TEXT, "entities": SPANS}, {"text": TEXT, "entities": [{"start": 5}]}]
    data = make_jsonl(write(tmp_path / "a.jsonl", *rows), target="entities", bad_rows=0.5)
    source = open_source(data, labelling=LABELLING)
    assert len(list(source.documents())) == 1
    assert source.bad.count == 1


def conll(path: Path, text: str) -> ConllData:
    path.write_text(text, encoding="utf-8")
    return ConllData(
        kind="conll", path=(str(path),), min_length=0, sequence_length=16, **PLAIN, tokenizer=BPE, split=HALF
    )


def test_sentences_in_columns_are_their_tokens_with_one_space_between_them(tmp_path):
    text = "Olenellus\tB-TAXON\nof\tO\nlower\tB-TIME\nCambrian\tI-TIME\nTriassic\tB-TIME\n\n\nx\tO\n"
    first, second = open_source(conll(tmp_path / "a.conll", text), labelling=LABELLING).documents()
    assert (first.text, first.origin) == ("Olenellus of lower Cambrian Triassic", f"{tmp_path}/a.conll:1")
    assert first.labelled is not None
    spans = [(first.text[span.begin : span.end], span.label) for span in first.labelled.spans]
    assert spans == [("Olenellus", "TAXON"), ("lower Cambrian", "TIME"), ("Triassic", "TIME")]
    assert (second.text, second.origin) == ("x", f"{tmp_path}/a.conll:8")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Cambrian", "has 1 columns and not two, a token and its tag with a tab between"),
        ("Cambrian\tNNP\tI-NP\tB-TIME", "has 4 columns and not two, a token and its tag with a tab between; `cut"),
        ("the Cambrian\tB-TIME", "token 'the Cambrian' is empty or holds white space"),
        ("Cambrian\tS-TIME", "tag 'S-TIME' is none of BIO"),
        ("Cambrian\tB-ROCK", "'ROCK' is none of objective.labels: TAXON, TIME"),
        ("Cambrian\tI-TIME", "tag 'I-TIME' goes on with nothing; a span begins with B-TIME"),
    ],
)
def test_a_line_of_columns_that_can_not_be_is_named_by_its_own_number(tmp_path, line, said):
    data = conll(tmp_path / "a.conll", f"x\tO\n\nx\tO\n{line}\n")
    with pytest.raises(DataError) as error:
        list(open_source(data, labelling=LABELLING).documents())
    assert str(error.value).startswith(f"{tmp_path}/a.conll:4: {said}")


def test_a_span_goes_where_normalising_takes_its_characters():
    raw = "  Ｏlenellus \n of the\tcafe\u0301 "
    normalize = Normalize(unicode="NFKC", whitespace="collapse", lowercase=True, idn=None, join_terms=False)
    aligned = Normalizer(normalize, terms=()).align(raw)
    whole, within = raw.index("cafe\u0301"), raw.index("e\u0301")
    spans = [
        Span(begin=2, end=11, label="TAXON"),
        Span(begin=whole, end=whole + 5, label="TIME"),
        Span(begin=within, end=within + 1, label="TIME"),
    ]
    carried = carry(spans, aligned.spans, aligned.text)
    assert [carried.text[span.begin : span.end] for span in carried.spans] == ["olenellus", "caf\u00e9"]
    assert carried.lost == 1  # the letter without its accent is no character any more


def names(tags: Tags, numbers: object) -> list[str]:
    return ["-" if number == NONE else tags.names[number] for number in numbers]  # type: ignore[attr-defined]


def test_tokens_have_the_tag_of_the_characters_that_they_hold_and_white_space_is_nobodys():
    tags = Tags(labels=LABELS, scheme="BIO")
    labelled = Labelled(text=TEXT, spans=(Span(begin=0, end=9, label="TAXON"), Span(begin=17, end=31, label="TIME")))
    # as a byte-level tokenizer counts them: the space before a word is the word's; the last letter is two tokens
    offsets = [(0, 3), (3, 9), (9, 12), (12, 16), (16, 22), (22, 30), (30, 31), (30, 31)]
    tagged = tag_tokens(labelled, offsets, tags)
    expected = ["B-TAXON", "I-TAXON", "O", "O", "B-TIME", "I-TIME", "I-TIME", "I-TIME", "-"]
    assert names(tags, tagged.numbers) == expected
    assert (tagged.spans, tagged.unmet) == (2, 0)


def test_a_span_that_ends_inside_of_a_token_is_counted_and_nothing_is_asked_there():
    tags = Tags(labels=LABELS, scheme="BILOU")
    labelled = Labelled(
        text="fossils of Utah", spans=(Span(begin=0, end=6, label="TAXON"), Span(begin=11, end=15, label="TIME"))
    )
    tagged = tag_tokens(labelled, [(0, 4), (4, 7), (8, 10), (11, 15)], tags)
    assert names(tags, tagged.numbers) == ["-", "-", "O", "U-TIME", "-"]
    assert (tagged.spans, tagged.unmet) == (2, 1)


SCHEMES = st.sampled_from(["BIO", "BILOU"])
LENGTHS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from(LABELS)), max_size=6)


@given(SCHEMES, LENGTHS)
def test_spans_written_as_tags_are_read_from_them_again(scheme: Scheme, parts: list[tuple[int, int, str]]):
    tags, numbers, spans = Tags(labels=LABELS, scheme=scheme), [], []
    for gap, length, label in parts:
        numbers += [0] * gap
        spans.append((len(numbers), len(numbers) + length, LABELS.index(label)))
        numbers += tags.of_span(label, length)
    assert tags.spans(numbers) == spans


@given(SCHEMES, st.lists(st.integers(0, 8), max_size=20))
def test_any_tags_are_read_to_the_letter(scheme: Scheme, numbers: list[int]):
    """Against regular expressions over a letter for each tag, written from the schemes' definitions."""
    tags = Tags(labels=LABELS, scheme=scheme)
    numbers = [min(number, len(tags.names) - 1) for number in numbers]
    # of the labels in turn: B, I, and L, U
    letters = dict(zip(tags.names, "OAaBb" if scheme == "BIO" else "OAa1!Bb2?", strict=True))
    text = "".join(letters[tags.names[number]] for number in numbers)
    patterns = ("Aa*", "Bb*") if scheme == "BIO" else ("Aa*1|!", r"Bb*2|\?")
    found = [(*match.span(), label) for label, pattern in enumerate(patterns) for match in re.finditer(pattern, text)]
    assert tags.spans(numbers) == sorted(found)


@given(SCHEMES, LENGTHS, st.data())
def test_a_document_cut_anywhere_has_the_same_spans_but_for_those_that_the_cut_parts(scheme, parts, data):
    tags, numbers = Tags(labels=LABELS, scheme=scheme), []
    for gap, length, label in parts:
        numbers += [0] * gap + tags.of_span(label, length)
    place = data.draw(st.integers(0, len(numbers)))
    whole = tags.spans(numbers)
    first, second = (tags.mended(np.array(piece, dtype=np.int64)) for piece in (numbers[:place], numbers[place:]))
    found = tags.spans(first.tolist()) + [
        (begin + place, end + place, label) for begin, end, label in tags.spans(second.tolist())
    ]
    expected = []
    for begin, end, label in whole:
        parted = begin < place < end
        expected += [(begin, place, label), (place, end, label)] if parted else [(begin, end, label)]
    assert found == expected


def corpus(path: Path, count: int = 60) -> Path:
    rows = []
    for number in range(count):
        taxon, time = ("Olenellus", "Elrathia kingii")[number % 2], ("Cambrian", "Late Cretaceous")[number // 2 % 2]
        text = f"{taxon} lived in the {time}, says page {number}."
        spans = [
            {"start": text.index(one), "end": text.index(one) + len(one), "label": label}
            for one, label in ((taxon, "TAXON"), (time, "TIME"))
        ]
        rows.append({"text": text, "entities": spans})
    return write(path, *rows)


def spans_in(store: Store, tags: Tags) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of every row, its text and its spans as text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(store.tokenizer)
    found = []
    for side in (store.train, store.validation):
        rows = LabelledRows(DocumentRows(side, 200, truncate=False, eos=False), store.summary.tokenizer, tags)
        for number in range(len(rows)):
            row = rows.row(number, position=None)
            assert row.labels[0] == row.labels[-1] == -100
            spans = [
                (tokenizer.decode(row.input_ids[1:-1][begin:end]), tags.labels[label])
                for begin, end, label in tags.spans(row.labels[1:-1].tolist())
            ]
            found.append((tokenizer.decode(row.input_ids[1:-1]), spans))
    return found


@pytest.mark.parametrize("scheme", ["BIO", "BILOU"])
def test_a_store_holds_the_spans_of_every_document_and_counts_them(tmp_path, make_jsonl, no_report, scheme):
    labelling = Labelling(field="entities", labels=LABELS, scheme=scheme)
    data = make_jsonl(corpus(tmp_path / "a.jsonl"), target="entities", tokenizer=WORDPIECE)
    prepared = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=labelling)
    store = Store.open(prepared.path)
    store.verify()
    found = spans_in(store, labelling.tags)
    assert len(found) == 60
    for text, spans in found:
        assert [text.index(one) for one, _ in spans] == sorted(text.index(one) for one, _ in spans)
        assert [label for _, label in spans] == ["TAXON", "TIME"]
        assert {one for one, _ in spans} <= {"Olenellus", "Elrathia kingii", "Cambrian", "Late Cretaceous"}
    sides = [store.summary.train.labels, store.summary.validation.labels]
    assert sum(side.spans for side in sides) == 120
    assert sum(sum(side.counts) for side in sides) == sum(
        side.summary.predicted - side.summary.documents for side in (store.train, store.validation)
    )


def test_other_labels_are_another_store_and_text_alone_the_one_that_it_was(tmp_path, make_jsonl, no_report):
    file, cache = corpus(tmp_path / "a.jsonl"), tmp_path / "cache"
    data = make_jsonl(file, target="entities", tokenizer=WORDPIECE)
    plain = prepare(make_jsonl(file, tokenizer=WORDPIECE), seed=1, cache=cache, report=no_report)
    assert "labels" not in plain.summary.origin
    assert not list(plain.path.rglob("labels.bin*"))
    others = [Labelling(field="entities", labels=LABELS, scheme=scheme) for scheme in ("BIO", "BILOU")]
    made = [prepare(data, seed=1, cache=cache, report=no_report, labelling=one) for one in others]
    assert len({plain.fingerprint, *(one.fingerprint for one in made)}) == 3
    assert len({plain.summary.content, *(one.summary.content for one in made)}) == 3


def test_damaged_labels_are_named_before_any_of_them_is_used(tmp_path, make_jsonl, no_report):
    data = make_jsonl(corpus(tmp_path / "a.jsonl"), target="entities", tokenizer=WORDPIECE)
    made = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=LABELLING)
    file = made.path / "train" / "labels.bin"
    file.write_bytes(file.read_bytes()[:-2] + b"\1\0")
    with pytest.raises(DataError, match=r"train/labels\.bin: damaged: part 1 of 1"):
        Store.open(made.path).train.read_labels(3, 5)


def test_a_killed_preparation_goes_on_to_the_same_labels(tmp_path, make_jsonl, no_report):
    from runjob.data.tokenise import Sizes

    class Killed(Exception):
        pass

    def kill(progress: object) -> None:
        if progress.stage == "tokenising" and progress.documents > 30:  # type: ignore[attr-defined]
            raise Killed

    data = make_jsonl(corpus(tmp_path / "a.jsonl"), target="entities", tokenizer=WORDPIECE)
    whole = prepare(data, seed=1, cache=tmp_path / "whole", report=no_report, labelling=LABELLING)
    sizes = Sizes(batch=300, part=500)
    with pytest.raises(Killed):
        prepare(data, seed=1, cache=tmp_path / "cache", report=kill, sizes=sizes, labelling=LABELLING)
    assert list((tmp_path / "cache").rglob("journal.json")), "it was killed on the way"
    again = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, sizes=sizes, labelling=LABELLING)
    assert again.summary.files == whole.summary.files
    assert again.summary.train == whole.summary.train


def test_a_long_document_goes_on_in_the_next_row_and_so_do_its_labels(tmp_path, make_jsonl, no_report):
    data = make_jsonl(corpus(tmp_path / "a.jsonl"), target="entities", tokenizer=WORDPIECE)
    store = Store.open(prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=LABELLING).path)
    summary: TokenizerSummary = store.summary.tokenizer
    rows = LabelledRows(DocumentRows(store.train, 5, truncate=False, eos=False), summary, LABELLING.tags)
    assert rows.sequence_length == 7
    assert rows.lengths(np.arange(len(rows))).max() == 7
    spans = [
        span
        for number in range(len(rows))
        for span in LABELLING.tags.spans(np.maximum(rows.row(number, position=None).labels, 0).tolist())
    ]
    assert len(spans) > store.summary.train.labels.spans  # some are parted, none is lost


def test_spans_that_normalising_takes_apart_are_counted(tmp_path, make_jsonl, no_report):
    normalize = Normalize(unicode="NFC", whitespace="keep", lowercase=False, idn=None, join_terms=False)
    row = {"text": "cafe\u0301 noir", "entities": [{"start": 0, "end": 4, "label": "TAXON"}]}
    data = make_jsonl(
        write(tmp_path / "a.jsonl", *([row] * 1), *({**row, "text": f"cafe\u0301 {n}"} for n in range(9))),
        target="entities",
        normalize=normalize,
    )
    store = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=LABELLING)
    sides = [store.summary.train.labels, store.summary.validation.labels]
    assert [side.unmet for side in sides] == [side.spans for side in sides]
    assert sum(side.spans for side in sides) == 10
