"""Sides that the job names: files of their own, or the subsets of a data set of the Hub."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data import tokenizers
from runjob.data.corpus import open_corpus
from runjob.data.prepare import PreparedStore, prepare
from runjob.data.progress import Progress
from runjob.data.store import Store
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import Data
from runjob.schemas.read import read_job
from tests.conftest import ROOT

VALID = ROOT / "tests" / "cases" / "valid"
BPE = "data.tokenizer={kind: train, algorithm: bpe, vocab_size: 300}"

Prepare = Callable[[Data], PreparedStore]


@pytest.fixture
def prepared(tmp_path: Path, no_report: Callable[[Progress], None]) -> Prepare:
    return lambda data: prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)


@pytest.fixture
def folder(words: Path, tmp_path: Path) -> Path:
    lines = words.read_text(encoding="utf-8").splitlines()
    (tmp_path / "train-1.txt").write_text("\n".join(lines[:100]) + "\n", encoding="utf-8")
    (tmp_path / "train-2.txt").write_text("\n".join(lines[100:180]) + "\n", encoding="utf-8")
    (tmp_path / "validation.txt").write_text("\n".join([*lines[180:190], lines[3]]) + "\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("\n".join([*lines[190:], lines[181], lines[4]]) + "\n", encoding="utf-8")
    return tmp_path


def job(folder: Path, *sets: str, validation: str = "validation.txt", test: str | None = "test.txt") -> Data:
    tested = "" if test is None else f", test: {folder}/{test}"
    split = f"data.split={{kind: files, validation: {folder}/{validation}{tested}}}"
    file = VALID / "files.yaml"
    return read_job(file, [f"data.path={folder}/train-*.txt", "data.documents=line", BPE, split, *sets]).job.data


def texts(store: Store) -> dict[str, list[str]]:
    tokenizer = tokenizers.load_saved(store.tokenizer)
    sides = {"train": store.train, "validation": store.validation, "test": store.test}
    return {
        name: [tokenizer.decode(side.document(number)) for number in range(side.summary.documents)]
        for name, side in sides.items()
        if side is not None
    }


def test_every_side_is_read_from_its_own_files(folder: Path, words: Path, prepared: Prepare):
    lines = words.read_text(encoding="utf-8").splitlines()
    assert texts(Store.open(prepared(job(folder)).path)) == {
        "train": lines[:180],
        "validation": [*lines[180:190], lines[3]],
        "test": [*lines[190:], lines[181], lines[4]],
    }
    without = prepared(job(folder, test=None))
    assert (without.summary.test, without.summary.validation.documents) == (None, 11)


def test_of_copies_validation_keeps_its_own_then_test_and_none_is_trained_on(
    folder: Path, words: Path, prepared: Prepare
):
    lines = words.read_text(encoding="utf-8").splitlines()
    store = prepared(job(folder, "data.deduplicate=true"))
    assert texts(Store.open(store.path)) == {
        "train": [*lines[:3], *lines[5:180]],
        "validation": [*lines[180:190], lines[3]],
        "test": [*lines[190:], lines[4]],
    }
    assert store.summary.left_out.duplicates == 3


def test_files_are_known_by_what_they_hold_and_by_their_side(folder: Path, prepared: Prepare):
    first = prepared(job(folder))
    (folder / "validation.txt").rename(folder / "elsewhere.txt")
    moved = prepared(job(folder, validation="elsewhere.txt"))
    exchanged = prepared(job(folder, validation="test.txt", test="elsewhere.txt"))
    assert moved.path == first.path
    assert exchanged.path != first.path


@pytest.mark.parametrize(
    ("validation", "test", "said"),
    [
        ("train-2.txt", "test.txt", r"data\.path: .*train-2\.txt is in data\.split\.validation too; .* one side"),
        ("validation.txt", "train-1.txt", r"data\.path: .*train-1\.txt is in data\.split\.test too"),
        ("validation.txt", "*.txt", r"data\.split\.test: .*validation\.txt is in data\.split\.validation too"),
        ("again.txt", "test.txt", r"data\.path: .*train-1\.txt is in data\.split\.validation too"),
    ],
)
def test_a_file_in_two_sides_is_refused(folder: Path, validation: str, test: str, said: str):
    (folder / "again.txt").symlink_to(folder / "train-1.txt")
    with pytest.raises(JobError, match=said):
        open_corpus(job(folder, validation=validation, test=test))


def test_a_side_of_which_nothing_is_left_is_refused_by_its_name(folder: Path, prepared: Prepare):
    (folder / "short.txt").write_text("x\n\n", encoding="utf-8")
    for side, sets in (("validation", {"validation": "short.txt"}), ("test", {"test": "short.txt"})):
        said = rf"data\.split\.{side}: .*short\.txt: no document is left on the {side} side \(1 of white space alone"
        with pytest.raises(DataError, match=said):
            prepared(job(folder, "data.min_length=2", **sets))
    with pytest.raises(MissingError, match=r"^data\.split\.validation: .*nowhere\.txt: no such file"):
        prepared(job(folder, validation="nowhere.txt"))


def test_the_subsets_of_a_data_set_are_its_sides(tmp_path: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    expected = {"train": ["een huis", "een weg", "een boom"], "validation": ["twee huizen"], "test": ["drie", "vier"]}
    for side, documents in expected.items():
        path = tmp_path / "published" / "data" / f"{side}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": documents}), path)
    sets = (f"data.path={tmp_path}/published", BPE)
    data = read_job(VALID / "subsets.yaml", sets).job.data
    assert texts(Store.open(prepared(data).path)) == expected
    part = read_job(
        VALID / "subsets.yaml", [*sets, "data.subset=train[1:]", "data.split.validation=train[:1]"]
    ).job.data
    assert texts(Store.open(prepared(part).path)) == {
        "train": expected["train"][1:],
        "validation": ["een huis"],
        "test": expected["test"],
    }
