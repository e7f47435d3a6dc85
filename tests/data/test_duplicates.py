"""Exact copies: which ones are found, which one stays, and that memory doesn't grow with the corpus."""

import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data import tokenizers
from runjob.data.duplicates import find_copies
from runjob.data.prepare import prepare
from runjob.data.store import LeftOut, Store
from runjob.schemas.job_data import FirstSplit


@settings(deadline=None, max_examples=30)  # 256 files are opened for every spill
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), max_size=20),
    held=st.sampled_from([1, 24, 100, 10**6]),
)
def test_all_but_the_first_of_equal_texts_are_copies_however_little_is_held_in_memory(texts: list[str], held: int):
    with tempfile.TemporaryDirectory() as directory:
        copies = find_copies(iter(texts), scratch=Path(directory) / "scratch", held_bytes=held)
        assert list(Path(directory).iterdir()) == []
    expected = [text in texts[:number] for number, text in enumerate(texts)]
    assert [number in copies for number in range(len(texts))] == expected
    assert copies.count == sum(expected)
    assert len(texts) + 64 not in copies


def test_a_store_holds_the_first_of_equal_documents_and_counts_the_others(tmp_path: Path, make_text, no_report):
    file = tmp_path / "a.txt"
    file.write_text("één huis\ntwee huizen\neen\neen\ntwee huizen \ndrie\ntwee huizen\néén huis\nvier\ndrie\n")
    data = make_text(file, split=FirstSplit(kind="first", validation=1, test=None), deduplicate=True, min_length=4)
    prepared = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)
    store = Store.open(prepared.path)
    tokenizer = tokenizers.load_saved(store.tokenizer)
    documents = [tokenizer.decode(store.train.document(number)) for number in range(store.train.summary.documents)]
    assert documents == ["twee huizen", "twee huizen ", "drie", "vier"]
    assert prepared.summary.left_out == LeftOut(bad=0, empty=0, short=2, filtered=0, duplicates=3)
    assert prepared.summary.left_out.words() == ("2 shorter than data.min_length, 3 exact copies of an earlier one")
    names = ["store.json", "store.sha256", "tokenizer", "train", "validation"]
    assert sorted(path.name for path in store.path.iterdir()) == names


def test_looking_for_copies_is_a_stage_of_its_own(words: Path, tmp_path: Path, make_text):
    stages: list[str] = []
    told = lambda progress: stages.append(progress.stage)  # noqa: E731
    prepare(make_text(words, deduplicate=True), seed=1, cache=tmp_path / "cache", report=told)
    assert list(dict.fromkeys(stages)) == [
        "reading",
        "looking for copies",
        "training the tokenizer",
        "tokenising",
        "checking",
        "done",
    ]


PROGRAM = """
import resource, sys
from pathlib import Path
from runjob.data.duplicates import find_copies
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
texts = (f"line {number % 400_000}" for number in range(600_000))
print(find_copies(texts, scratch=Path(sys.argv[1]), held_bytes=2**20).count)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown // 1024 if sys.platform == "darwin" else grown)  # KiB; macOS counts in bytes
"""


def test_memory_is_bounded_by_what_may_be_held(tmp_path: Path):
    """14.4 MB of records, of which 1 MiB may be held. Grown by 2.6 MB so, by 35 MB with all of them held."""
    command = (sys.executable, "-c", PROGRAM, str(tmp_path / "scratch"))
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    count, grown_kib = map(int, done.stdout.split())
    assert count == 200_000
    assert grown_kib < 10_000
