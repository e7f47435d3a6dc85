"""Documents through the real `datasets`, offline, from a local directory laid out as the Hub lays out a data set."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data.prepare import prepare
from runjob.data.sources import open_source
from runjob.data.store import Store
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import FirstSplit, HubData, TrainedTokenizer
from tests.data.conftest import PLAIN

README = """---
license: cc0-1.0
configs:
- config_name: plain
  data_files: [{split: train, path: data/train-*.parquet}, {split: test, path: data/test-*.parquet}]
---
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Seven training documents in two files, one of white space and one missing in the test split."""
    (tmp_path / "published" / "data").mkdir(parents=True)
    (tmp_path / "published" / "README.md").write_text(README)

    def write(name: str, texts: list[str | None]) -> None:
        table = pa.table({"id": list(range(len(texts))), "text": pa.array(texts, pa.string())})
        pq.write_table(table, tmp_path / "published" / "data" / name)

    write("train-00000-of-00002.parquet", ["één huis", "twee huizen", "  ", "drie huizen"])
    write("train-00001-of-00002.parquet", ["vier\nhuizen", "vijf huizen", "zes huizen"])
    write("test-00000-of-00001.parquet", ["goed", None])
    return tmp_path / "published"


def hub(path: Path | str, *, config: str | None = None, subset: str = "train", field: str = "text") -> HubData:
    return HubData(
        kind="hub",
        path=str(path),
        config=config,
        revision=None,
        subset=subset,
        streaming=False,
        block_documents=10000,
        disk_budget="10GB",
        field=field,
        min_length=0,
        **PLAIN,
        sequence_length=16,
        tokenizer=TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=270, terms={}),
        split=FirstSplit(kind="first", validation=2, test=None),
    )


@pytest.mark.parametrize("config", [None, "plain"])
def test_documents_come_in_the_order_of_the_files(published: Path, config: str | None):
    source = open_source(hub(published, config=config))
    expected = ["één huis", "twee huizen", "drie huizen", "vier\nhuizen", "vijf huizen", "zes huizen"]
    assert [document.text for document in source.documents()] == expected
    assert source.empty == 1
    assert source.done == source.total > 0


def test_a_local_data_set_is_prepared_and_found_again(published: Path, tmp_path: Path, no_report):
    first, again = (prepare(hub(published), seed=1, cache=tmp_path / "cache", report=no_report) for _ in range(2))
    assert (first.built, again.built) == (True, False)
    assert (first.summary.train.documents, first.summary.validation.documents) == (4, 2)
    assert first.summary.left_out.empty == 1
    Store.open(first.path).verify()


def test_other_documents_make_another_store(published: Path, tmp_path: Path, no_report):
    whole = prepare(hub(published), seed=1, cache=tmp_path / "cache", report=no_report)
    part = prepare(hub(published, subset="train[:5]"), seed=1, cache=tmp_path / "cache", report=no_report)
    assert part.path != whole.path
    assert part.summary.train.documents == 2


def test_a_row_without_text_is_named(published: Path):
    with pytest.raises(DataError, match=r"published\[test\]:row 2: column 'text' holds NoneType and not a string"):
        list(open_source(hub(published, subset="test")).documents())


def test_a_column_that_is_not_there_is_answered_with_those_that_are(published: Path):
    with pytest.raises(DataError, match=r"data\.field: .* has no column 'body', but id, text"):
        open_source(hub(published, field="body"))


def test_an_unknown_config_or_subset_is_answered_with_those_that_are(published: Path):
    with pytest.raises(JobError, match="plain"):
        open_source(hub(published, config="fancy"))
    with pytest.raises(JobError, match="train"):
        open_source(hub(published, subset="validation"))


MISSING = """
import pickle, sys
from runjob.data.sources import open_source
from runjob.schemas.errors import MissingError
try:
    open_source(pickle.loads(bytes.fromhex(sys.argv[1])))
except MissingError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["nobody/nothing", "/nowhere/at/all"])
def test_a_name_that_is_not_here_offline_says_where_a_copy_would_go(tmp_path: Path, name: str):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = (sys.executable, "-c", MISSING, pickle.dumps(hub(name)).hex())
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"data.path: {name} is neither in the local Hugging Face cache nor could it be fetched" in done.stdout
    assert "put a local copy" in done.stdout


def test_a_directory_without_data_files_is_missing_them(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="empty"):
        open_source(hub(tmp_path / "empty"))
