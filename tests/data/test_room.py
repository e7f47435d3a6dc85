"""Room on the disk: asked before the first byte, estimated near enough, and said where the disk fills up even so."""

import gzip
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.data.corpus import open_corpus
from runjob.data.prepare import prepare
from runjob.data.room import estimate_store
from runjob.data.samples import locate
from runjob.data.space import check_space
from runjob.schemas.errors import MissingError


@pytest.mark.parametrize(("sample", "documents"), [("dutch", "paragraph"), ("domains", "line")])
def test_a_store_is_about_as_large_as_it_was_expected_to_be(sample, documents, tmp_path, make_text, no_report):
    data = make_text(f"sample:{sample}", documents=documents)
    estimate = estimate_store(open_corpus(data), vocab_size=300, token_budget=None, deduplicate=False)
    store = prepare(data, seed=1, cache=tmp_path, report=no_report).path
    real = sum(file.stat().st_size for file in store.glob("*/*.*") if file.parent.name != "tokenizer")
    assert 0.5 * real < estimate < 2 * real


def test_what_is_packed_is_estimated_as_large_as_what_is_not(tmp_path: Path, make_text):
    text = gzip.decompress(locate("sample:english").read_bytes()) * 4
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text))

    def estimated(name: str, **more) -> int:
        options = {"vocab_size": 4096, "token_budget": None, "deduplicate": False}
        return estimate_store(open_corpus(make_text(tmp_path / name)), **{**options, **more})

    assert estimated("a.txt") == pytest.approx(estimated("a.txt.gz"), rel=0.25)
    assert estimated("a.txt", token_budget=1000) < 5000
    assert estimated("a.txt", deduplicate=True) > estimated("a.txt")


def test_too_little_room_names_what_is_needed_what_is_there_and_another_place(tmp_path: Path):
    said = r"^it needs 1e\+06 TB in .*/a/b, and .* are free; make room there, .*: RUNJOB_CACHE=/large/disk$"
    with pytest.raises(MissingError, match=said):
        check_space(tmp_path / "a" / "b", needed=10**18, what="it")
    check_space(tmp_path / "a" / "b", needed=1000, what="it")
    assert not (tmp_path / "a").exists()


SMALL_DISK = """
set -e
mount -t tmpfs -o size={size}k tmpfs {disk}
{python} -c '
import pickle, sys
from pathlib import Path
from runjob.data.prepare import prepare
from runjob.schemas.errors import MissingError
data = pickle.loads(bytes.fromhex(sys.argv[1]))
try:
    prepare(data, seed=1, cache=Path(sys.argv[2]), report=lambda progress: None)
except MissingError as error:
    print(error)
' {data} {disk}/cache
ls -A {disk}/cache/stores
"""


@pytest.fixture
def prepare_on_a_disk_of(tmp_path: Path, make_text):
    """What a preparation says and what it leaves, in a mount namespace with a small disk of its own."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run((unshare, "-rm", "mount", "-t", "tmpfs", "x", tmp_path), check=False).returncode
    ):
        pytest.skip("needs the right to mount in a namespace of its own (unshare -rm)")
    (tmp_path / "disk").mkdir()

    def run(size: int, corpus: Path) -> list[str]:
        data = pickle.dumps(make_text(corpus)).hex()
        script = SMALL_DISK.format(size=size, disk=tmp_path / "disk", python=sys.executable, data=data)
        done = subprocess.run((unshare, "-rm", "sh", "-c", script), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_store_that_will_not_fit_is_refused_before_it_is_begun(prepare_on_a_disk_of, words: Path):
    said, *left = prepare_on_a_disk_of(8, words)
    assert said.startswith("the prepared corpus (an estimate) needs ")
    assert not [name for name in left if name.startswith(".building")]


def test_a_disk_that_fills_up_all_the_same_is_said_and_leaves_no_store(prepare_on_a_disk_of, tmp_path: Path):
    (tmp_path / "odd.txt").write_text("".join(f"{chr(0x4E00 + place % 20000)}\n" for place in range(3000)))
    said, *left = prepare_on_a_disk_of(72, tmp_path / "odd.txt")
    assert "No space left on device; make room there, or name another place: RUNJOB_CACHE" in said
    assert all(name.startswith(".building") or name.endswith(".lock") for name in left)
