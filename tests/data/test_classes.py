"""One label a document: rows that can't be read, which side and which copies, what a store and its rows say."""

import dataclasses
import json

import pytest

from runjob.data.class_rows import ClassRows
from runjob.data.classes import DocumentLabels, class_reader
from runjob.data.corpus import open_corpus
from runjob.data.prepare import prepare
from runjob.data.rows import DocumentRows
from runjob.data.selection import Selection
from runjob.data.store import Store
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import CharacterTokenizer, Filter, HashSplit, TrainedWordPiece

WANTED = DocumentLabels(field="label", labels=("site", "school", "mail"))
WORDPIECE = TrainedWordPiece(
    kind="train", algorithm="wordpiece", vocab_size=120, lowercase=True, marks="bert", terms={}
)
CHARACTERS = CharacterTokenizer(kind="characters")
NAMES = [(f"{word}{number}.{ending}", label) for number in range(40) for word, ending, label in (
    ("uni", "edu", "school"), ("post", "com", "mail"), ("shop", "nl", "site"))]  # fmt: skip


def read(**changed):
    row = {"text": "example.edu", "label": "school"} | changed
    return class_reader("text", WANTED)(json.dumps(row).encode())


def write(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), "utf-8")
    return path


def test_a_label_is_its_number_among_those_of_the_job():
    assert (read().text, read().number, read(label="site").number) == ("example.edu", 1, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": "shop"}, "'shop' is none of objective.labels: site, school, mail"),
        ({"label": None}, "field 'label' is null and not a label, which is a string"),
        ({"label": 1}, "field 'label' is a number and not a label, which is a string"),
        ({"text": 3}, "field 'text' is a number and not a string"),
    ],
)
def test_a_row_without_a_label_of_the_job_is_named(changed, said):
    with pytest.raises(ValueError) as error:
        read(**changed)
    assert str(error.value) == said


def test_a_missing_label_stops_the_job_with_file_and_line_and_bad_rows_admits_it(tmp_path, make_jsonl, no_report):
    file = write(tmp_path / "a.jsonl", NAMES)
    file.write_text(file.read_text("utf-8") + '{"text": "example.org"}\n', "utf-8")
    data = dataclasses.replace(make_jsonl(file, target="label", tokenizer=CHARACTERS), long_documents="truncate")
    make = lambda data: prepare(data, seed=1, cache=tmp_path, report=no_report, labelling=WANTED)  # noqa: E731
    with pytest.raises(DataError, match=r"a\.jsonl:121: has no field 'label', but 'text'"):
        make(data)
    made = make(dataclasses.replace(data, bad_rows=0.1))
    assert made.summary.left_out.bad == 1


@pytest.mark.parametrize("tokenizer", [CHARACTERS, WORDPIECE], ids=["characters", "pieces"])
def test_a_row_asks_once_at_its_first_token_and_a_long_document_by_its_first_part(
    tokenizer, tmp_path, make_jsonl, no_report
):
    file = write(tmp_path / "a.jsonl", NAMES)
    data = dataclasses.replace(
        make_jsonl(file, target="label", tokenizer=tokenizer),
        long_documents="truncate",
        split=HashSplit(kind="hash", validation=0.3, test=None),
    )
    store = Store.open(prepare(data, seed=1, cache=tmp_path, report=no_report, labelling=WANTED).path)
    store.verify()
    assert sum(store.summary.train.labels.counts) == store.summary.train.documents
    assert store.summary.train.labels.counts[0] + store.summary.validation.labels.counts[0] == 40
    for length in (30, 4):
        texts = DocumentRows(store.train, length, truncate=True, eos=False)
        rows = ClassRows(texts, store.summary.tokenizer)
        found = [0, 0, 0]
        for number in range(len(rows)):
            row = rows.row(number, position=None)
            assert row.input_ids[0] == store.summary.tokenizer.cls_id
            assert len(row.input_ids) <= length + 2
            assert (row.labels[1:] == -100).all()
            found[row.labels[0]] += 1
        assert tuple(found) == store.summary.train.labels.counts


def test_the_label_that_a_row_asks_is_that_of_its_own_text(tmp_path, make_jsonl, no_report):
    file = write(tmp_path / "a.jsonl", NAMES)
    data = dataclasses.replace(make_jsonl(file, target="label", tokenizer=CHARACTERS), long_documents="truncate")
    store = Store.open(prepare(data, seed=1, cache=tmp_path, report=no_report, labelling=WANTED).path)
    rows = ClassRows(DocumentRows(store.train, 30, truncate=True, eos=False), store.summary.tokenizer)
    labels = dict(NAMES)
    assert len(rows) > 20
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        text = "".join(map(chr, row.input_ids[1:-1]))
        assert WANTED.labels[row.labels[0]] == labels[text]


def test_the_same_text_with_another_label_is_no_copy_and_on_the_same_side(tmp_path, make_jsonl):
    rows = [("example.edu", "school"), ("example.edu", "site"), (" EXAMPLE.edu", "school")]
    data = dataclasses.replace(make_jsonl(write(tmp_path / "a.jsonl", rows), target="label"), deduplicate=True)
    selection = Selection(
        open_corpus(data, labelling=WANTED),
        normalize=lambda text: text.strip().lower(),
        min_length=0,
        filter=Filter(keep=None, drop=None),
    )
    selection.leave_out_copies(scratch=tmp_path / "copies", advance=lambda: None)
    found = [document for _, document in selection.documents()]
    assert [(one.text, one.labelled.number) for one in found] == [("example.edu", 1), ("example.edu", 0)]
    assert {one.unmarked for one in found} == {"example.edu"}, "which is what decides the side"
    assert selection.left_out.duplicates == 1
