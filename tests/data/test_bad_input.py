"""What `prepare` makes of data that are not what the job says: a clear message, and nothing half-written."""

import dataclasses
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data.prepare import prepare
from runjob.data.progress import Progress
from runjob.data.store import LeftOut, Store
from runjob.schemas.errors import MissingError, RunjobError
from runjob.schemas.job_data import FirstSplit, HashSplit, ParquetData, TrainedUnigram, TrainedWordPiece

GOOD = [json.dumps({"text": f"een huis met {number} tuinen"}) + "\n" for number in range(108)]
FEW = HashSplit(kind="hash", validation=0.01, test=None)
FIRST = FirstSplit(kind="first", validation=1, test=None)


def refusal(data, tmp_path: Path, report=lambda progress: None) -> str:
    """What is said; neither a store nor a beginning of one may be left."""
    with pytest.raises(RunjobError) as caught:
        prepare(data, seed=1, cache=tmp_path / "cache", report=report)
    left = [path.name for path in (tmp_path / "cache").glob("stores/*") if path.suffix != ".lock"]
    assert left == []
    return str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n \n"])
def test_files_without_a_document(tmp_path: Path, make_text, content: str):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(content)
    assert "no document" in refusal(make_text(tmp_path / "*.txt"), tmp_path)


def test_an_empty_file_among_others_holds_no_document(tmp_path: Path, words: Path, make_text, no_report):
    (tmp_path / "empty.txt").touch()
    whole, beside = (
        prepare(make_text(*paths), seed=1, cache=tmp_path / "cache", report=no_report).summary
        for paths in ([words], [words, tmp_path / "empty.txt"])
    )
    assert beside.content == whole.content


def test_a_first_document_larger_than_the_budget(tmp_path: Path, make_text):
    (tmp_path / "a.txt").write_text("woord " * 5000 + "\n" + "".join(f"kort {number}\n" for number in range(900)))
    said = refusal(make_text(tmp_path / "a.txt", token_budget=10, split=FEW), tmp_path)
    assert "data.token_budget: 10 is reached after 1 training document, before the first one for validation" in said


def test_a_budget_that_is_reached_before_the_test_side_has_a_document(words: Path, tmp_path: Path, make_text):
    split = HashSplit(kind="hash", validation=0.5, test=0.02)
    said = refusal(make_text(words, token_budget=20, split=split), tmp_path)
    assert "before the first one for test; raise it" in said
    assert "split: {kind: first, validation: 100, test: 100}" in said


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram"])
def test_a_vocabulary_that_is_too_small(words: Path, tmp_path: Path, make_text, algorithm: str):
    common = {"kind": "train", "algorithm": algorithm, "vocab_size": 7, "lowercase": False, "terms": {}}
    settings = TrainedWordPiece(**common, marks="bert") if algorithm == "wordpiece" else TrainedUnigram(**common)
    assert "data.tokenizer.vocab_size: 7 is too small" in refusal(make_text(words, tokenizer=settings), tmp_path)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, words: Path, make_text):
    def grow(progress: Progress) -> None:
        if progress.stage == "tokenising":
            with words.open("a") as file:
                file.write("een regel meer\n")

    said = refusal(make_text(words), tmp_path, grow)
    assert "the corpus changed while it was being read; start again when it is at rest" in said


def test_one_line_in_another_encoding(tmp_path: Path, words: Path, make_text):
    with words.open("ab") as file:
        file.write("één\n".encode("latin-1"))
    said = refusal(make_text(words), tmp_path)
    assert said.splitlines() == [
        f"{words}:201: is not UTF-8 (byte 0xe9 at place 1: invalid continuation byte)",
        "1 row can't be read; mend or remove them and start again",
        "a file in Latin-1 becomes UTF-8 with `iconv -f LATIN1 -t UTF-8 FILE`",
    ]


def test_a_packed_file_that_breaks_off(tmp_path: Path, words: Path, make_text):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(words.read_bytes())[:-9])
    assert "a.txt.gz: can't be read to its end" in refusal(make_text(tmp_path / "a.txt.gz"), tmp_path)


def test_a_column_of_lists(tmp_path: Path, make_jsonl):
    pq.write_table(pa.table({"text": ["a"], "tags": [["a", "b"]]}), tmp_path / "a.parquet")
    own = {field.name for field in dataclasses.fields(ParquetData)}
    fields = {
        name: value for name, value in vars(make_jsonl(tmp_path / "a.parquet", field="tags")).items() if name in own
    }
    assert "holds list<" in refusal(ParquetData(**{**fields, "kind": "parquet"}), tmp_path)


def test_a_directory_and_a_name_that_is_not_there(tmp_path: Path, make_text):
    assert "is a directory; name its files" in refusal(make_text(tmp_path), tmp_path)
    assert "no such file" in refusal(make_text(tmp_path / "nothing.txt"), tmp_path)


def test_bad_rows_within_their_share_are_counted_in_the_store_and_shown(tmp_path: Path, make_jsonl, no_report):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(row + "{\n" * (number % 9 == 8) for number, row in enumerate(GOOD)))
    data = make_jsonl(file, bad_rows=0.1)
    first, again = (prepare(data, seed=1, cache=tmp_path / "cache", report=no_report) for _ in range(2))
    assert first.summary.left_out == LeftOut(bad=12, empty=0, short=0, filtered=0, duplicates=0)
    assert first.summary.left_out.words() == "12 that can't be read"
    assert (
        first.bad_rows[0] == f"{file}:10: is not JSON (Expecting property name enclosed in double quotes at column 2)"
    )
    assert (len(first.bad_rows), again.built, again.bad_rows) == (10, False, ())
    assert first.summary.train.documents + first.summary.validation.documents == 108
    Store.open(first.path).verify()


def test_the_share_that_is_allowed_is_part_of_what_a_store_is_called_by(tmp_path: Path, make_jsonl, no_report):
    (tmp_path / "a.jsonl").write_text("".join(GOOD))
    none, some = (
        prepare(make_jsonl(tmp_path / "a.jsonl", bad_rows=share), seed=1, cache=tmp_path / "cache", report=no_report)
        for share in (0.0, 0.5)
    )
    assert none.fingerprint != some.fingerprint
    assert none.summary.content == some.summary.content


def test_where_a_budget_ends_the_reading_the_rows_up_to_there_are_judged(tmp_path: Path, make_text):
    good, bad = b"twee woorden en meer\n", b"caf\xe9\n"
    (tmp_path / "a.txt").write_bytes((good + bad) * 40 + good * 400)
    data = make_text(tmp_path / "a.txt", split=FIRST, token_budget=100, bad_rows=0.2)
    said = refusal(data, tmp_path).splitlines()
    assert said[0] == f"{tmp_path}/a.txt:2: is not UTF-8 (byte 0xe9 at place 4: unexpected end of data)"
    assert "where bad_rows allows 20 %" in said[-2]


def test_offline_without_a_copy(tmp_path: Path, make_text):
    with pytest.raises(MissingError, match="a local copy may lie anywhere"):
        prepare(make_text("http://127.0.0.1:9/a.txt"), seed=1, cache=tmp_path, report=lambda progress: None)
