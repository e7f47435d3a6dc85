"""Documents out of files: what is one, in which order, and what is said about those that can't be read."""

import bz2
import gzip
import importlib.util
import json
import os
from pathlib import Path

import pytest

from runjob.data.sources import open_source
from runjob.schemas.errors import DataError, MissingError


def texts(data) -> list[str]:
    return [document.text for document in open_source(data).documents()]


def test_a_document_is_a_line_a_block_or_a_file(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone é\r\ntwo\n\n \nthree\n  indented\n\n".encode())
    assert texts(make_text(file)) == ["one é", "two", "three", "  indented"]
    assert texts(make_text(file, documents="paragraph")) == ["one é\ntwo", "three\n  indented"]
    assert texts(make_text(file, documents="file")) == ["one é\r\ntwo\n\n \nthree\n  indented\n\n"]


def test_only_line_feeds_end_a_line(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("one\x0btwo\x85three\u2028four\nfive", encoding="utf-8")
    assert texts(make_text(file)) == ["one\x0btwo\x85three\u2028four", "five"]


def test_documents_know_where_they_stand(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("\n\none\ntwo\n\nthree\n")
    assert [document.origin for document in open_source(make_text(file, documents="paragraph")).documents()] == [
        f"{file}:3",
        f"{file}:6",
    ]


def test_files_are_read_in_sorted_order_each_once(tmp_path: Path, make_text):
    for name in ("c.txt", "a.txt", "sub/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    data = make_text(tmp_path / "c.txt", tmp_path / "*.txt", tmp_path / "**" / "b.txt")
    assert texts(data) == ["a.txt", "c.txt", "sub/b.txt"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path: Path, make_text):
    (tmp_path / "x[1].txt").write_text("brackets")
    (tmp_path / "x1.txt").write_text("glob")
    assert texts(make_text(tmp_path / "x[1].txt")) == ["brackets"]


def test_packed_files_are_unpacked(tmp_path: Path, make_text):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"gz one\ngz two"))
    (tmp_path / "b.txt.bz2").write_bytes(bz2.compress(b"bz2"))
    assert texts(make_text(tmp_path / "*")) == ["gz one", "gz two", "bz2"]


def test_a_cut_packed_file_is_named(tmp_path: Path, make_text):
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress(bytes(range(256)).hex().encode() * 9)[:-20])
    with pytest.raises(DataError, match=r"a\.txt\.gz: can't be read to its end"):
        texts(make_text(file))


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is not None, reason="zstandard is installed")
def test_zst_says_which_package_it_needs(tmp_path: Path, make_text):
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(MissingError, match="pip install zstandard"):
        texts(make_text(tmp_path / "a.zst"))


def test_empty_documents_are_counted_and_the_bytes_too(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("one\n\n \t\ntwo\n")
    source = open_source(make_text(file))
    assert [document.text for document in source.documents()] == ["one", "two"]
    assert (source.empty, source.done, source.total) == (2, 12, 12)


def test_what_is_missing_is_named(tmp_path: Path, make_text):
    with pytest.raises(MissingError, match=r"nowhere\.txt: no such file"):
        texts(make_text(tmp_path / "nowhere.txt"))
    with pytest.raises(MissingError, match=r"\*\.txt: no file matches"):
        texts(make_text(tmp_path / "*.txt"))
    with pytest.raises(MissingError, match=r"is a directory; name its files, for example .*/\*\.txt"):
        texts(make_text(tmp_path))
    with pytest.raises(
        MissingError, match="sample:french: this runjob ships no such sample; it has domains, dutch, english, paleo"
    ):
        texts(make_text("sample:french"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, make_text):
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(MissingError, match="may not be read by this user"):
        texts(make_text(tmp_path / "a.txt"))


def test_text_that_is_not_utf8_is_named_by_line_ten_times_and_counted(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_bytes(b"good\n" + b"caf\xe9\n" * 12 + b"good\n")
    source = open_source(make_text(file))
    handed_out = []
    with pytest.raises(DataError) as caught:
        handed_out.extend(document.text for document in source.documents())
    assert handed_out == ["good"]
    lines = str(caught.value).splitlines()
    why = "is not UTF-8 (byte 0xe9 at place 4: unexpected end of data)"
    assert lines[:10] == [f"{file}:{line}: {why}" for line in range(2, 12)]
    assert lines[10:] == [
        "and 2 more",
        "12 rows can't be read; mend or remove them and start again",
        "a file in Latin-1 becomes UTF-8 with `iconv -f LATIN1 -t UTF-8 FILE`",
    ]


def test_jsonl_reads_one_field(tmp_path: Path, make_jsonl):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "één", "id": 1}\n\n{"id": 2, "text": "two\\nlines"}\n{"text": " "}\n')
    source = open_source(make_jsonl(file))
    assert [document.text for document in source.documents()] == ["één", "two\nlines"]
    assert source.empty == 2


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "is not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ("[1]", "is an array and not an object with the field 'text'"),
        ('{"body": "x", "id": 1}', "has no field 'text', but 'body', 'id'"),
        ('{"text": null}', "field 'text' is null and not a string"),
        ('{"text": 3}', "field 'text' is a number and not a string"),
        ('{"text": "\\ud800"}', "field 'text' holds half a surrogate pair, which no UTF-8 can write"),
        ("[" * 100_000, "is not JSON that can be read (nested too deeply)"),
    ],
)
def test_a_bad_row_stops_with_its_line(tmp_path: Path, make_jsonl, row: str, why: str):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "good"}) + "\n" + row + "\n")
    with pytest.raises(DataError) as caught:
        texts(make_jsonl(file))
    assert str(caught.value) == f"{file}:2: {why}\n1 row can't be read; mend or remove them and start again"
