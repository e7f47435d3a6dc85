"""From the data of a job to a store, once: what is in it, when it is built again, and what a killed one leaves."""

import dataclasses
import gzip
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from runjob.data import tokenizers
from runjob.data.prepare import Progress, Sizes, prepare
from runjob.data.split import hash_side
from runjob.data.store import FORMAT, Side, Store, write_sum
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Data, Filter, FirstSplit, HashSplit, PretrainedTokenizer, TrainedTokenizer
from tests.conftest import contents

QUARTER = HashSplit(kind="hash", validation=0.25, test=None)

PREPARE = """
import pickle, sys
from pathlib import Path
from runjob.data.prepare import Sizes, prepare
data = pickle.loads(bytes.fromhex(sys.argv[1]))
def report(progress):
    if progress.stage in ("waiting", "tokenising"):
        print(progress.stage, progress.note, flush=True)
    if progress.stage == "tokenising" and len(sys.argv) > 3:
        sys.stdin.readline()
store = prepare(data, seed=1, cache=Path(sys.argv[2]), report=report, sizes=Sizes(batch=100, part=10**9))
print("built" if store.built else "found", store.path, flush=True)
"""


@pytest.fixture
def existing(words: Path, tmp_path: Path) -> PretrainedTokenizer:
    """A tokenizer directory, for tests that are not about training one."""
    trained = tokenizers.train_bpe(words.read_text(encoding="utf-8").splitlines(), vocab_size=400)
    tokenizers.save(trained, tmp_path / "tokenizer")
    return PretrainedTokenizer(kind="pretrained", path=str(tmp_path / "tokenizer"), revision=None, terms={})


def documents(side: Side, tokenizer) -> list[str]:
    return [tokenizer.decode(side.document(number)) for number in range(side.summary.documents)]


def start(data: Data, *args: str | Path, threads: int = 2) -> subprocess.Popen[str]:
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    command = (sys.executable, "-c", PREPARE, pickle.dumps(data).hex(), *map(str, args))
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_both_sides_hold_their_documents_in_order_each_closed_by_eos(words: Path, tmp_path: Path, make_text, no_report):
    prepared = prepare(make_text(words, split=QUARTER), seed=1, cache=tmp_path / "cache", report=no_report)
    store = Store.open(prepared.path)
    store.verify()
    tokenizer = tokenizers.load_saved(store.tokenizer)
    lines = words.read_text(encoding="utf-8").splitlines()
    for name, side in (("train", store.train), ("validation", store.validation)):
        expected = [line for line in lines if hash_side(line, validation=0.25, test=None, seed=1) == name]
        assert documents(side, tokenizer) == expected
        assert side.summary.documents == len(expected)
        assert side.summary.bytes == sum(len(line.encode()) for line in expected)
        assert side.summary.tokens == len(side.tokens)
        assert int((side.tokens == tokenizer.eos_token_id).sum()) == len(expected) + 1
        assert side.tokens[0] == side.tokens[-1] == tokenizer.eos_token_id
    assert len(lines) == store.train.summary.documents + store.validation.summary.documents


def test_the_first_documents_are_the_validation_side_where_the_job_says_so(
    words: Path, tmp_path: Path, make_text, existing, no_report
):
    data = make_text(words, split=FirstSplit(kind="first", validation=3, test=None), tokenizer=existing)
    store = Store.open(prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).path)
    tokenizer = tokenizers.load_saved(store.tokenizer)
    assert documents(store.validation, tokenizer) == words.read_text(encoding="utf-8").splitlines()[:3]


def test_the_validation_side_is_unseen_by_the_tokenizer_too(tmp_path: Path, make_text, no_report):
    file = tmp_path / "a.txt"
    file.write_text("zzzz zzzz zzzz\n" + "abab abab\n" * 5)
    data = make_text(file, split=FirstSplit(kind="first", validation=1, test=None))
    store = Store.open(prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).path)
    vocabulary = tokenizers.load_saved(store.tokenizer).get_vocab()
    assert "abab" in vocabulary
    assert "zz" not in vocabulary


def test_the_same_job_again_finds_its_store_and_rebuilds_nothing(words: Path, tmp_path: Path, make_text, no_report):
    os.utime(words, (1, 1))  # long at rest, so that its digest is remembered
    first = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    before = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
    told: list[Progress] = []
    again = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=told.append)
    assert (first.built, again.built) == (True, False)
    assert again.path == first.path
    assert {file: file.stat().st_mtime_ns for file in again.path.rglob("*")} == before
    assert list(dict.fromkeys(progress.stage for progress in told)) == ["reading", "checking", "done"]
    remembered = tmp_path / "cache" / "digests.json"
    assert words.as_posix() in remembered.read_text()
    # a digest with another digit would make the data another's
    remembered.write_text(re.sub(r'": "[0-9a-f]', '": "x', remembered.read_text(), count=1))
    assert prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report).path == first.path


def test_rows_of_another_length_come_from_the_same_store(words: Path, tmp_path: Path, make_text, no_report):
    cache = tmp_path / "cache"
    short, long = (prepare(make_text(words, length=n), seed=1, cache=cache, report=no_report) for n in (8, 64))
    assert short.path == long.path


def test_the_same_bytes_elsewhere_are_the_same_corpus(words: Path, tmp_path: Path, make_text, no_report):
    copy = tmp_path / "elsewhere" / "copy.text"
    copy.parent.mkdir()
    copy.write_bytes(words.read_bytes())
    one, other = (prepare(make_text(file), seed=1, cache=tmp_path / "c", report=no_report) for file in (words, copy))
    assert one.path == other.path


@pytest.mark.parametrize(
    "changed",
    [
        {"documents": "paragraph"},
        {"tokenizer": TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=301, terms={})},
        {"split": HashSplit(kind="hash", validation=0.4, test=None)},
        {"seed": 2},
        {"min_length": 12},
        {"deduplicate": True},
        {"token_budget": 500},
        {"filter": Filter(keep=None, drop="huis")},
        {"more": "one more line\n"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_decides_a_token_makes_another_store(words: Path, tmp_path: Path, make_text, no_report, changed: dict):
    words.write_text(words.read_text(encoding="utf-8") + "\nanother\n\nblock\n", encoding="utf-8")
    settings = {
        "documents": "line",
        "split": FirstSplit(kind="first", validation=1, test=None) if "documents" in changed else QUARTER,
    }
    first = prepare(make_text(words, **settings), seed=1, cache=tmp_path / "cache", report=no_report)
    with words.open("a") as file:
        file.write(changed.get("more", ""))
    settings |= {key: value for key, value in changed.items() if key not in {"seed", "more"}}
    seed = changed.get("seed", 1)
    assert (
        prepare(make_text(words, **settings), seed=seed, cache=tmp_path / "cache", report=no_report).path != first.path
    )


def test_the_seed_of_the_job_plays_no_part_where_it_draws_nothing(words, tmp_path, make_text, existing, no_report):
    data = make_text(words, split=FirstSplit(kind="first", validation=9, test=None), tokenizer=existing)
    one, other = (prepare(data, seed=seed, cache=tmp_path / "cache", report=no_report) for seed in (1, 2))
    assert one.path == other.path


def test_batches_and_workers_leave_no_trace_in_the_store(words: Path, tmp_path: Path, make_text, no_report):
    whole = prepare(make_text(words, split=QUARTER), seed=1, cache=tmp_path / "whole", report=no_report)
    process = start(make_text(words, split=QUARTER), tmp_path / "small", threads=5)
    output, _ = process.communicate(timeout=120)
    small = Path(output.split()[-1])
    assert small.name == whole.path.name
    assert contents(small) == contents(whole.path)


def test_a_corpus_larger_than_a_batch_is_never_in_memory_at_once(tmp_path: Path, existing, make_text):
    """240 MB of text through batches of 1 MB; the process may grow by a fraction of that."""
    file = tmp_path / "large.txt.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        for number in range(240):
            packed.write((f"document {number} " + "huiskato " * 111_000).encode() + b"\n")
    program = (
        "import resource, sys\n"
        "from runjob.data.files import CorpusFile\n"
        "from runjob.data.sources import FileSource, cut_lines\n"
        "from pathlib import Path\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = (CorpusFile(name='a', path=Path(sys.argv[1])),)\n"
        "source = FileSource(files, cut=cut_lines, read=bytes.decode, bad_rows=0.0)\n"
        "print(sum(len(document.text) for document in source.documents()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program, file), capture_output=True, text=True, check=True, timeout=120
    )
    characters, grown_kib = map(int, done.stdout.split())
    assert characters > 239_000_000
    assert grown_kib < 40_000


def test_a_killed_prepare_leaves_no_store_and_the_next_one_builds_it(words: Path, tmp_path: Path, make_text, no_report):
    cache = tmp_path / "cache"
    process = start(make_text(words, split=QUARTER), cache, "stop")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("tokenising")
    time.sleep(0.3)  # longer than progress is held back for
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("tokenising")  # a batch is written, and it stands still again
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    stores = sorted(path.name for path in (cache / "stores").iterdir())
    assert [name for name in stores if not name.startswith(".building-") and not name.endswith(".lock")] == []
    assert any(name.startswith(".building-") for name in stores)
    prepared = prepare(make_text(words, split=QUARTER), seed=1, cache=cache, report=no_report)
    assert prepared.built
    Store.open(prepared.path).verify()
    assert [path.name for path in (cache / "stores").glob(".building-*")] == []


def test_two_at_once_build_one_store_and_share_it(words: Path, tmp_path: Path, make_text):
    builder = start(make_text(words, split=QUARTER), tmp_path / "cache", "stop")
    assert builder.stdout is not None
    builder.stdout.readline()  # it holds the lock now, and stands still
    waiter = start(make_text(words, split=QUARTER), tmp_path / "cache")
    assert waiter.stdout is not None
    said = waiter.stdout.readline()
    assert said.startswith("waiting for")
    assert f'"pid": {builder.pid}' in said
    built, _ = builder.communicate("\n" * 10_000, timeout=120)
    found, _ = waiter.communicate(timeout=120)
    assert built.splitlines()[-1].startswith("built ")
    assert found.splitlines()[-1] == built.splitlines()[-1].replace("built ", "found ")


def test_a_waiter_takes_over_from_a_builder_that_dies(words: Path, tmp_path: Path, make_text):
    builder = start(make_text(words, split=QUARTER), tmp_path / "cache", "stop")
    assert builder.stdout is not None
    builder.stdout.readline()
    waiter = start(make_text(words, split=QUARTER), tmp_path / "cache")
    assert waiter.stdout is not None
    assert waiter.stdout.readline().startswith("waiting for")
    builder.kill()
    builder.communicate(timeout=10)
    output, _ = waiter.communicate(timeout=120)
    assert output.splitlines()[-1].startswith("built ")
    Store.open(Path(output.split()[-1])).verify()


def test_progress_ends_with_all_bytes_documents_and_tokens(words: Path, tmp_path: Path, make_text):
    told: list[Progress] = []
    prepared = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=told.append)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["reading", "training the tokenizer", "tokenising", "checking", "done"]
    last = [progress for progress in told if progress.stage == "tokenising"][-1]
    assert last.done_bytes == last.total_bytes == words.stat().st_size
    assert last.documents == 200
    summary = prepared.summary
    assert last.tokens == summary.train.tokens + summary.validation.tokens - 200 - 2  # without every EOS
    assert last.tokens_per_s > 0


def test_every_stage_tells_how_much_of_it_is_done_and_ends_with_all_of_it(words: Path, tmp_path: Path, make_text):
    told: list[Progress] = []

    def listen(progress: Progress) -> None:
        told.append(progress)
        time.sleep(0.21 if progress.stage == "tokenising" else 0)  # longer than reports are held back for

    words.write_text(words.read_text() + words.read_text(), encoding="utf-8")
    data = make_text(words, deduplicate=True)
    prepare(data, seed=1, cache=tmp_path / "cache", report=listen, sizes=Sizes(batch=2000, part=10**9))
    for stage in ("reading", "looking for copies", "tokenising", "checking"):
        shares = [progress.share for progress in told if progress.stage == stage]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, 1)
    choosing = [progress for progress in told if progress.note == "all is read; choosing the vocabulary"]
    assert [progress.left_s for progress in choosing] == [None]
    half = next(progress for progress in told if progress.stage == "tokenising" and progress.share > 0.4)
    assert half.left_s == half.seconds * (1 - half.share) / half.share


def test_what_an_earlier_process_did_is_no_part_of_the_rate():
    progress = Progress(
        stage="tokenising",
        done_bytes=700,
        total_bytes=1000,
        documents=7,
        tokens=90,
        seconds=10.0,
        note="",
        share=0.7,
        share_before=0.5,
    )
    assert progress.left_s == pytest.approx(15)
    assert progress.bytes_per_s == pytest.approx(20)
    assert dataclasses.replace(progress, share=0.5).left_s is None


@pytest.mark.parametrize(
    ("vocab_size", "expected"),
    [(300, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (256, "uint8"), (257, "uint16")],
)
def test_tokens_take_the_smallest_type(vocab_size: int, expected: str):
    from runjob.data.writer import token_type

    assert token_type(vocab_size) == expected
    assert np.iinfo(expected).max >= vocab_size - 1


def test_an_empty_corpus_and_an_empty_side_build_nothing(tmp_path: Path, make_text, no_report):
    file = tmp_path / "a.txt"
    file.write_text(" \n\n")
    with pytest.raises(DataError, match=r"the corpus holds no document \(2 of white space alone were left out\)"):
        prepare(make_text(file), seed=1, cache=tmp_path / "cache", report=lambda progress: None)
    file.write_text("one\ntwo\nthree\n")
    all_of_it = make_text(file, split=FirstSplit(kind="first", validation=3, test=None))
    with pytest.raises(DataError, match=r"lower data\.split\.validation from 3 to at most 2"):
        prepare(all_of_it, seed=1, cache=tmp_path / "cache", report=lambda progress: None)
    assert [path.suffix for path in (tmp_path / "cache" / "stores").iterdir() if path.name[0] != "."] == [".lock"] * 2


def test_rows_that_cannot_be_read_stop_while_training_the_tokenizer_too(tmp_path: Path, make_jsonl, no_report):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "good"}\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: field 'text' is a number"):
        prepare(make_jsonl(file), seed=1, cache=tmp_path / "cache", report=no_report)


def test_a_corpus_that_changes_under_our_eyes_is_refused(words: Path, tmp_path: Path, make_text):
    def meddle(progress: Progress) -> None:
        if progress.stage == "tokenising" and progress.documents:
            with words.open("a") as file:
                file.write(f"a late line {time.time_ns()}\n")

    with pytest.raises(DataError, match="changed while it was being read"):
        prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=meddle)


def test_a_damaged_store_is_named_and_never_used(words: Path, tmp_path: Path, make_text, no_report):
    prepared = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    tokens = prepared.path / "train" / "tokens.bin"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-2])
    with pytest.raises(
        DataError, match=rf"damaged \(train/tokens.bin: {len(whole) - 2} bytes instead of {len(whole)}\)"
    ):
        prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    tokens.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"damaged \(train/tokens\.bin: sha256 differs\); delete this directory"):
        prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report, whole=True)
    side = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report).path
    with pytest.raises(DataError, match=r"train/tokens\.bin: damaged: part 1 of 1 .*; delete .*`runjob resume`"):
        Store.open(side).train.document(0)
    tokens.unlink()
    with pytest.raises(DataError, match=r"train/tokens\.bin is missing"):
        Store.open(prepared.path)


def test_a_store_without_its_summary_or_of_another_format_is_none(words: Path, tmp_path: Path, make_text, no_report):
    prepared = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    summary = prepared.path / "store.json"
    raw = json.loads(summary.read_text())
    assert json.loads(json.dumps(dataclasses.asdict(prepared.summary))) == raw
    summary.write_text(json.dumps({**raw, "format": 99}))
    with pytest.raises(DataError, match=r"damaged \(store\.json and store\.sha256 disagree\)"):
        Store.open(prepared.path)
    write_sum(summary)
    with pytest.raises(DataError, match=f"store format 99, this runjob reads {FORMAT}"):
        Store.open(prepared.path)
    summary.unlink()
    with pytest.raises(DataError, match=r"holds no store\.json"):
        Store.open(prepared.path)


def test_the_summary_is_read_without_numpy_or_torch(words: Path, tmp_path: Path, make_text, no_report):
    prepared = prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report)
    program = (
        "import sys; from pathlib import Path; from runjob.data.store import read_summary\n"
        f"print(read_summary(Path({str(prepared.path)!r})).train.rows(16))\n"
        "print(sorted({'numpy', 'torch', 'transformers', 'tokenizers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [str(-(-(prepared.summary.train.tokens - 1) // 16)), "[]"]


def test_content_tells_what_training_sees_and_nothing_else(words: Path, tmp_path: Path, make_text, existing, no_report):
    packed = tmp_path / "words.txt.gz"
    packed.write_bytes(gzip.compress(words.read_bytes()))
    plain, unpacked, other = (
        prepare(make_text(file, tokenizer=existing), seed=seed, cache=tmp_path / "cache", report=no_report).summary
        for file, seed in ((words, 1), (packed, 1), (words, 2))
    )
    assert plain.fingerprint != unpacked.fingerprint
    assert plain.content == unpacked.content
    assert plain.content != other.content
