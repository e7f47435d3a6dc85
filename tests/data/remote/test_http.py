"""Files behind http: fetched once, gone on with where they broke off, begun anew where they changed."""

import gzip
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runjob.data.downloads import Downloads
from runjob.data.prepare import prepare
from runjob.data.remote import BLOCK
from runjob.data.sources import open_source
from runjob.schemas.errors import DataError, JobError, MissingError

LARGE = random.Random(1).randbytes(3 * BLOCK - 12345)


def texts(data, downloads: Downloads) -> list[str]:
    return [document.text for document in open_source(data, downloads=downloads).documents()]


def test_documents_behind_http_are_read_and_fetched_once(server, downloads, told, make_text):
    (server.folder / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo"))
    data = make_text(f"{server.url}/a.txt.gz?part=1")
    assert texts(data, downloads) == texts(data, downloads) == ["one", "two"]
    assert len(server.fetched) == 1
    assert told[-1].done == told[-1].total == len(gzip.compress(b"one\ntwo"))


def test_they_are_called_by_their_address_in_messages_and_in_the_order(server, downloads, tmp_path, make_text):
    for name in ("b.txt", "a.txt"):
        (server.folder / name).write_text(f"{name}\n")
    (tmp_path / "local.txt").write_text("local\n")
    data = make_text(f"{server.url}/b.txt", tmp_path / "local.txt", f"{server.url}/a.txt")
    origins = [document.origin for document in open_source(data, downloads=downloads).documents()]
    assert origins == [f"{tmp_path}/local.txt:1", f"{server.url}/a.txt:1", f"{server.url}/b.txt:1"]


def test_a_mirror_and_a_local_copy_make_the_same_store(server, tmp_path, words, make_text, no_report):
    (server.folder / "words.txt").write_bytes(words.read_bytes())
    here = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    there = prepare(make_text(f"{server.url}/words.txt"), seed=1, cache=tmp_path / "cache", report=no_report)
    assert (there.built, there.path) == (False, here.path)


def test_a_glob_takes_what_the_server_lists(server, downloads, make_text):
    for name in ("a.txt", "b.txt", "c.md"):
        (server.folder / name).write_text(name)
    assert texts(make_text(f"{server.url}/*.txt"), downloads) == ["a.txt", "b.txt"]
    with pytest.raises(MissingError, match=r"\*\.zip can't be listed: no file there matches"):
        texts(make_text(f"{server.url}/*.zip"), downloads)


def test_a_broken_download_goes_on_where_it_broke_off(server, downloads, told):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.breaks = [BLOCK, 1000]
    [copy] = downloads.fetch(f"{server.url}/a.bin").values()
    assert copy.read_bytes() == LARGE
    assert server.fetched == [0, BLOCK, BLOCK, 2 * BLOCK]
    assert any("broke off" in one.note for one in told)


def test_a_download_that_was_given_up_goes_on_with_the_next_prepare(server, downloads, tmp_path):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.breaks = [BLOCK, 0, 0, 0, 0]
    with pytest.raises(
        MissingError, match=r"a\.bin broke off \(.*\); 4\.19 MB of 12\.6 MB are kept, and the same comm"
    ):
        downloads.fetch(f"{server.url}/a.bin")
    assert [path.name for path in downloads.root.glob("*/*/a.bin*")] == ["a.bin.part"]
    server.breaks, server.asked = [], []
    [copy] = downloads.fetch(f"{server.url}/a.bin").values()
    assert (copy.read_bytes() == LARGE, server.fetched) == (True, [BLOCK, 2 * BLOCK])


KILLED = """
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from runjob.data.downloads import Downloads
Downloads(Path(sys.argv[1]), report=lambda one: None, pinned={}).fetch(sys.argv[2])
"""


def test_a_killed_download_goes_on_where_it_was(server, downloads):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.stalls_at = 2 * BLOCK
    command = (sys.executable, "-c", KILLED, downloads.root.parent, f"{server.url}/a.bin")
    with subprocess.Popen(command) as process:
        assert server.stalled.wait(60)
        process.kill()
    server.go_on.set()
    server.asked = []
    [copy] = downloads.fetch(f"{server.url}/a.bin").values()
    assert copy.read_bytes() == LARGE
    assert server.fetched == [2 * BLOCK]


def test_two_who_want_the_same_file_fetch_it_once(server, downloads, told):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.stalls_at = 2 * BLOCK
    command = (sys.executable, "-c", KILLED, downloads.root.parent, f"{server.url}/a.bin")
    with subprocess.Popen(command) as first, ThreadPoolExecutor(1) as pool:
        assert server.stalled.wait(60)
        second = pool.submit(downloads.fetch, f"{server.url}/a.bin")
        while not any("which fetches the same file" in one.note for one in told):
            time.sleep(0.01)
        server.go_on.set()
        [copy] = second.result(60).values()
        assert first.wait(60) == 0
    assert copy.read_bytes() == LARGE
    assert server.fetched == [0, BLOCK, 2 * BLOCK]


def test_a_file_that_changed_meanwhile_begins_anew(server, downloads):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.breaks = [BLOCK, 0, 0, 0, 0]
    with pytest.raises(MissingError):
        downloads.fetch(f"{server.url}/a.bin")
    changed = LARGE[::-1]
    (server.folder / "a.bin").write_bytes(changed)
    server.breaks, server.asked = [], []
    [copy] = downloads.fetch(f"{server.url}/a.bin").values()
    assert (copy.read_bytes() == changed, server.fetched[0]) == (True, 0)
    assert not list(downloads.root.glob("*/*/*.part"))


def test_a_file_that_changes_while_it_is_fetched_is_refused_and_not_kept(server, tmp_path):
    (server.folder / "a.bin").write_bytes(LARGE)

    def report(one) -> None:
        if one.done:
            (server.folder / "a.bin").write_bytes(LARGE[:-1])

    with pytest.raises((DataError, MissingError)):
        Downloads(tmp_path, report=report, pinned={}, pauses_s=()).fetch(f"{server.url}/a.bin")
    assert not list(tmp_path.glob("downloads/*/*/a.bin"))


@pytest.mark.parametrize("sizes", [True, False])
def test_a_server_that_knows_no_ranges_is_read_in_one_go(server, downloads, sizes: bool):
    (server.folder / "a.bin").write_bytes(LARGE)
    server.ranges, server.sizes = False, sizes
    [copy] = downloads.fetch(f"{server.url}/a.bin").values()
    assert copy.read_bytes() == LARGE


def test_without_a_server_the_copy_of_earlier_is_used_and_said(server, downloads, told, make_text):
    (server.folder / "a.txt").write_text("one\n")
    data = make_text(f"{server.url}/*.txt")
    assert texts(data, downloads) == ["one"]
    server.status = 503
    assert texts(data, downloads) == ["one"]
    assert told[-1].note == "no answer (the server answers 503 Service Unavailable); the copy fetched earlier is used"


def test_a_server_that_stumbles_is_asked_again_and_one_that_is_silent_not_for_every_file(server, downloads, make_text):
    (server.folder / "a.txt").write_text("one\n")
    server.refuses = [503, 503]  # to HEAD and to GET, which fsspec asks too
    assert texts(make_text(f"{server.url}/a.txt"), downloads) == ["one"]
    server.status, server.asked = 503, []
    copies = [downloads.fetch(f"{server.url}/a.txt") for _ in range(3)]
    assert copies[0] == copies[1] == copies[2]
    assert len(server.asked) == 6  # three times HEAD and GET


def test_without_a_server_and_a_copy_it_says_where_one_would_go(server, downloads, make_text):
    server.status = 503
    said = (
        r"data\.path: http://127.*/a\.txt can't be fetched: the server answers 503 .*, and there is no complete copy "
    )
    with pytest.raises(MissingError, match=said + r".*; a local copy may lie anywhere: write its path into data\.path"):
        texts(make_text(f"{server.url}/a.txt"), downloads)


@pytest.mark.parametrize(("status", "said"), [(404, "answers 404"), (403, "answers 403"), (401, "answers 401")])
def test_what_the_server_refuses_is_not_replaced_by_an_old_copy(server, downloads, make_text, status: int, said: str):
    (server.folder / "a.txt").write_text("one\n")
    data = make_text(f"{server.url}/a.txt")
    assert texts(data, downloads) == ["one"]
    server.status = status
    with pytest.raises(MissingError, match=said):
        texts(data, downloads)


def test_a_run_that_goes_on_uses_what_it_began_with(server, downloads, tmp_path, make_text):
    (server.folder / "a.txt").write_text("old\n")
    data = make_text(f"{server.url}/a.txt")
    assert texts(data, downloads) == ["old"]
    (server.folder / "a.txt").write_text("newer\n")
    resumed = Downloads(tmp_path / "cache", report=lambda one: None, pinned=downloads.used)
    assert texts(data, resumed) == ["old"]
    elsewhere = Downloads(tmp_path / "empty", report=lambda one: None, pinned=downloads.used)
    with pytest.raises(DataError, match=r"a\.txt is not what this run began with"):
        texts(data, elsewhere)
    assert texts(data, Downloads(tmp_path / "cache", report=lambda one: None, pinned={})) == ["newer"]


def test_too_little_room_is_said_before_the_first_byte(server, downloads):
    (server.folder / "a.bin").write_bytes(b"x" * 10)
    server.claims = 10**18
    with pytest.raises(MissingError, match=r"a\.bin needs 1e\+06 TB in .*, and .* are free; make room there, or name"):
        downloads.fetch(f"{server.url}/a.bin")
    assert server.fetched == []
    assert not list(downloads.root.glob("*/*"))


def test_what_fsspec_does_not_know_is_refused_by_name(downloads, make_text):
    with pytest.raises(JobError, match=r"data\.path: gopher://host/a: gopher:// is no kind of address"):
        texts(make_text("gopher://host/a"), downloads)
    with pytest.raises(MissingError, match=r"abfs:// needs a package that is not installed; .*adlfs"):
        texts(make_text("abfs://container@account/a.txt"), downloads)


@pytest.mark.parametrize("address", ["github://owner/a.txt", "cached://host/a.txt", "zip://host/a.txt"])
def test_an_address_that_says_too_little_is_refused_in_words(downloads, make_text, address: str):
    with pytest.raises((JobError, MissingError, DataError), match=re.escape(address)):
        texts(make_text(address), downloads)


def test_a_glob_of_a_kind_that_lists_no_files_is_refused(downloads, make_text):
    with pytest.raises((MissingError, DataError), match="this kind of address lists no files; name them one by one"):
        texts(make_text("data://host/*.txt"), downloads)


def test_a_file_address_is_the_file_itself(tmp_path: Path, downloads, make_text):
    (tmp_path / "a b.txt").write_text("one\n")
    assert texts(make_text(f"file://{tmp_path}/a%20b.txt"), downloads) == ["one"]
    assert not downloads.root.exists()


def test_only_prepare_fetches(make_text):
    with pytest.raises(MissingError, match="is fetched by `runjob prepare`"):
        open_source(make_text("http://127.0.0.1:9/a.txt"))
