"""Documents out of files: what is one, in which order, and what is said about those that can't be read."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from runjob.data.compression import open_packed
from runjob.data.files import CorpusFile
from runjob.data.sources import FileSource, cut_lines, open_source
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


def packed(text: bytes) -> dict[str, bytes]:
    """The same bytes in every packing, by the ending of the name."""
    return {
        "gz": gzip.compress(text),
        "bz2": bz2.compress(text),
        "xz": lzma.compress(text),
        "zst": zstandard.ZstdCompressor(write_checksum=True).compress(text),
    }


PACKINGS = sorted(packed(b""))
TEXT = bytes(range(256)).hex().encode() * 1000 + b"\nthe end\n"


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_of_several_packed_parts_is_read_whole(tmp_path: Path, make_text, packing: str):
    parts = [packed(text)[packing] for text in (b"one\ntw", b"o\nthree", b"")]
    (tmp_path / f"a.txt.{packing}").write_bytes(b"".join(parts))
    assert texts(make_text(tmp_path / f"a.txt.{packing}")) == ["one", "two", "three"]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("cut", [-1, -20, 0.5])
def test_a_cut_packed_file_is_named(tmp_path: Path, make_text, packing: str, cut: float):
    file, whole = tmp_path / f"a.txt.{packing}", packed(TEXT)[packing]
    file.write_bytes(whole[: int(cut * len(whole)) if cut > 0 else int(cut)])
    with pytest.raises(DataError, match=rf"a\.txt\.{packing}: can't be read to its end .*; fetch or write it again"):
        texts(make_text(file))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_with_a_bit_turned_is_named(tmp_path: Path, make_text, packing: str):
    data = bytearray(packed(TEXT)[packing])
    data[len(data) // 2] ^= 0xFF
    (tmp_path / f"a.txt.{packing}").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.txt\.{packing}"):
        texts(make_text(tmp_path / f"a.txt.{packing}"))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(("content", "said"), [(b"plain text\n", "is not packed as its name says"), (b"", "is empty")])
def test_what_is_not_packed_as_its_name_says_is_named(
    tmp_path: Path, make_text, packing: str, content: bytes, said: str
):
    (tmp_path / f"a.{packing}").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.{packing} {said}"):
        texts(make_text(tmp_path / f"a.{packing}"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"text"), r"is packed \(\.gz\) and its name doesn't say so; rename it"),
        (bz2.compress(b"text"), r"is packed \(\.bz2\)"),
        (lzma.compress(b"text"), r"is packed \(\.xz\)"),
        (zstandard.compress(b"text"), r"is packed \(\.zst\)"),
        (b"PAR1\x15\x04\x15", r"is a Parquet file; read it with `kind: parquet`"),
    ],
    ids=["gz", "bz2", "xz", "zst", "parquet"],
)
def test_a_packed_file_under_another_name_is_known_by_its_beginning(
    tmp_path: Path, make_text, content: bytes, said: str
):
    file = tmp_path / "corpus.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said):
        texts(make_text(file))
    file.write_bytes(b"BZh is a text\nPAR1 too\n")
    assert texts(make_text(file)) == ["BZh is a text", "PAR1 too"]


def test_an_archive_is_no_packed_file(tmp_path: Path, make_text):
    for name in ("a.zip", "a.tar.gz", "a.tar"):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(DataError, match=rf"{name} is an archive of files; unpack it"):
            texts(make_text(tmp_path / name))


def test_zst_says_which_package_it_needs(tmp_path: Path, make_text):
    """In a process of its own, to which the package is not there."""
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    program = "import sys; sys.modules['zstandard'] = None\n" + READ
    assert "a.zst: reading .zst needs the package zstandard; type: pip install zstandard" in read_apart(
        make_text(tmp_path / "a.zst"), program
    )


def test_empty_documents_are_counted_and_the_bytes_too(tmp_path: Path, make_text):
    file = tmp_path / "a.txt"
    file.write_text("one\n\n \t\ntwo\n")
    source = open_source(make_text(file))
    assert [document.text for document in source.documents()] == ["one", "two"]
    assert (source.empty, source.done, source.total) == (2, 12, 12)


ROWS = {"good": b"een huis", "bad": b"caf\xe9", "empty": b" "}


@given(kinds=st.lists(st.sampled_from(sorted(ROWS)), max_size=30), share=st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.9]))
@example(kinds=["good"] * 71 + ["bad"] * 29, share=0.29)
def test_every_row_is_counted_once_and_the_share_decides(tmp_path_factory, kinds: list[str], share: float):
    file = tmp_path_factory.getbasetemp() / "rows.txt"
    file.write_bytes(b"".join(ROWS[kind] + b"\n" for kind in kinds))
    source = FileSource((CorpusFile(name="rows", path=file),), cut=cut_lines, read=bytes.decode, bad_rows=share)
    documents, refused = [], False
    try:
        documents.extend(document.text for document in source.documents())
    except DataError:
        refused = True
    bad = kinds.count("bad")
    assert (source.rows, source.bad.count, source.empty) == (len(kinds), bad, kinds.count("empty"))
    assert refused == (bad > Fraction(str(share)) * len(kinds))
    if not refused:
        assert len(documents) == kinds.count("good")


@given(frames=st.lists(st.binary(max_size=2000), min_size=1, max_size=6))
def test_frames_of_any_size_are_read_as_one_text(tmp_path_factory, frames: list[bytes]):
    file = tmp_path_factory.getbasetemp() / "frames.zst"
    file.write_bytes(b"".join(map(zstandard.ZstdCompressor().compress, frames)))
    with file.open("rb") as raw, open_packed(file, raw, name="frames") as opened:
        assert opened.read() == b"".join(frames)


def test_what_is_missing_is_named(tmp_path: Path, make_text):
    with pytest.raises(MissingError, match=r"nowhere\.txt: no such file"):
        texts(make_text(tmp_path / "nowhere.txt"))
    with pytest.raises(MissingError, match=r"\*\.txt: no file matches"):
        texts(make_text(tmp_path / "*.txt"))
    with pytest.raises(MissingError, match=r"is a directory; name its files, for example .*/\*\.txt"):
        texts(make_text(tmp_path))
    with pytest.raises(
        MissingError,
        match="sample:french: this runjob ships no such sample; it has domains, domains_labelled, dutch, english",
    ):
        texts(make_text("sample:french"))


READ = """
import os, pickle, sys
from runjob.data.sources import open_source
from runjob.schemas.errors import RunjobError
if os.geteuid() == 0 and sys.argv[2] == "as nobody":
    os.setuid(65534)
try:
    print([document.text for document in open_source(pickle.loads(bytes.fromhex(sys.argv[1]))).documents()])
except RunjobError as error:
    print(error)
"""


def read_apart(data, program: str = READ, *, who: str = "") -> str:
    """What another process makes of these data: their documents, or what it says."""
    command = (sys.executable, "-c", program, pickle.dumps(data).hex(), who)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_be_read_is_named(make_text):
    """Root may read everything, so root becomes nobody for this; /tmp's own folder, since nobody may enter pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "closed").mkdir()
        for name in ("a.txt", "closed/a.txt"):
            (Path(folder) / name).write_text("secret")
        (Path(folder) / "a.txt").chmod(0)
        (Path(folder) / "closed").chmod(0)
        try:
            said = read_apart(make_text(f"{folder}/a.txt"), who="as nobody")
            assert said == f"data.path: {folder}/a.txt may not be read by this user\n"
            said = read_apart(make_text(f"{folder}/closed/a.txt"), who="as nobody")
            assert said == f"data.path: {folder}/closed/a.txt: Permission denied\n"
        finally:
            (Path(folder) / "closed").chmod(0o755)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path, make_text):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to("nowhere.txt")
        (tmp_path / "loop").symlink_to("loop")
        for path, said in {
            tmp_path / "pipe": "is a named pipe; write it to a file",
            tmp_path / "socket": "is a socket; write it to a file",
            Path("/dev/null"): "is a device; write it to a file",
            tmp_path / "link": "is a link to nowhere.txt, which is not there",
            tmp_path / "loop": "is a link to loop, which is not there",
            tmp_path / ("x" * 300): "File name too long",
            tmp_path / "*": "no file matches, only directories and the like",
        }.items():
            with pytest.raises(MissingError) as caught:
                texts(make_text(path))
            assert said in str(caught.value)


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_another_encoding_that_says_so_is_named(tmp_path: Path, make_text, encoding: str, name: str, packing: str):
    data = "één\ntwee\n".encode(encoding)
    (tmp_path / f"a.txt{packing}").write_bytes(gzip.compress(data) if packing else data)
    with pytest.raises(DataError, match=rf"is {name} \(its byte order mark says so\).*`iconv -f {name} -t UTF-8`"):
        texts(make_text(tmp_path / f"a.txt{packing}", bad_rows=0.9))


def test_nul_is_in_no_text(tmp_path: Path, make_text, make_jsonl):
    (tmp_path / "a.txt").write_bytes("twee\n".encode("utf-16-le"))
    (tmp_path / "a.jsonl").write_text('{"text": "a\\u0000b"}\n')
    for data in (make_text(tmp_path / "a.txt"), make_jsonl(tmp_path / "a.jsonl")):
        with pytest.raises(DataError, match=r":1: holds the character NUL, which no text does \(a binary file, or UTF"):
            texts(data)


def test_up_to_the_share_that_is_allowed_bad_rows_are_left_out_and_counted(tmp_path: Path, make_jsonl):
    good, bad = json.dumps({"text": "good"}) + "\n", "{\n"
    (tmp_path / "a.jsonl").write_text((good * 3 + bad) * 5)
    source = open_source(make_jsonl(tmp_path / "a.jsonl", bad_rows=0.25))
    assert [document.text for document in source.documents()] == ["good"] * 15
    assert (source.bad.count, source.rows) == (5, 20)
    (tmp_path / "a.jsonl").write_text((good * 3 + bad) * 5 + bad)
    with pytest.raises(DataError) as caught:
        texts(make_jsonl(tmp_path / "a.jsonl", bad_rows=0.25))
    assert str(caught.value).splitlines()[-1] == (
        "6 rows of 21 can't be read (28.6 %, where bad_rows allows 25 %); mend or remove them, or allow more"
    )


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
        (
            "[1]",
            "is an array and not an object with the field 'text'; a file that is one array becomes lines with "
            "`jq -c '.[]' FILE`",
        ),
        (
            "[",
            "is not JSON (Expecting value at column 2); a file that is one array becomes lines with `jq -c '.[]' FILE`",
        ),
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
