"""A run's desk for tests of streams: data sets in Hub layout, offline, through the real `datasets`."""

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runjob.data import tokenizers
from runjob.data.block_keeper import BlockKeeper
from runjob.data.block_maker import BlockMaker
from runjob.data.block_rows import Blocks
from runjob.data.blocks import BlockRecord, Folder, Index
from runjob.data.prepare import Progress
from runjob.data.rows import open_rows
from runjob.data.samples import locate
from runjob.data.store import Store
from runjob.data.streaming import open_streamed
from runjob.data.streaming_prepare import prepare_stream, read_engine, read_start
from runjob.data.writer import token_type
from runjob.schemas.job_data import FirstSplit, HubData, PretrainedTokenizer
from tests.data.conftest import PLAIN

LENGTH = 16


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """200 lines of real text, all different."""
    with gzip.open(locate("dutch"), "rt", encoding="utf-8") as file:
        found = dict.fromkeys(line.strip() for line in file.read(100_000).splitlines() if len(line) > 40)
    return [f"{number} {text}" for number, text in enumerate(list(found)[:200])]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    where = tmp_path_factory.mktemp("tokenizer")
    tokenizers.save(tokenizers.train_bpe(texts, vocab_size=400), where)
    return where


@pytest.fixture
def published(tmp_path: Path, texts: list[str]) -> Path:
    """Five Parquet files of 40 rows in groups of 7, with a blank row and one of two characters in each."""
    (tmp_path / "published" / "data").mkdir(parents=True)
    for file in range(5):
        rows = texts[file * 40 : file * 40 + 40]
        rows[13:15] = ["  ", "ab"]
        table = pa.table({"id": range(40), "text": rows})
        path = tmp_path / "published" / "data" / f"train-{file:05d}-of-00005.parquet"
        pq.write_table(table, path, row_group_size=7)
    return tmp_path / "published"


@pytest.fixture
def lines(tmp_path: Path, texts: list[str]) -> Path:
    """The same as packed JSON lines in two files."""
    (tmp_path / "lines").mkdir()
    for file in range(2):
        rows = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in texts[file * 100 : file * 100 + 100])
        (tmp_path / "lines" / f"train-{file}.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    return tmp_path / "lines"


def hub(path: Path, tokenizer: Path, **changes: object) -> HubData:
    data = HubData(
        kind="hub",
        path=str(path),
        config=None,
        revision=None,
        subset="train",
        streaming=True,
        block_documents=30,
        disk_budget="1GB",
        field="text",
        min_length=3,
        **PLAIN,
        sequence_length=LENGTH,
        tokenizer=PretrainedTokenizer(kind="pretrained", path=str(tokenizer), revision=None, terms={}),
        split=FirstSplit(kind="first", validation=10, test=5),
    )
    return dataclasses.replace(data, **changes)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Desk:
    """A run's index, blocks and keeper, on prepared validation and test sides."""

    store: Store
    index: Index
    folder: Folder
    keeper: BlockKeeper
    data: HubData
    failure: Path

    def provide(self, positions: range, keep_from: int = 0) -> list[int]:
        """All blocks that are missing, one after another."""
        return list(iter(lambda: self.keeper.provide(positions, keep_from=keep_from), None))  # type: ignore[arg-type]

    def blocks(self, patience_s: float = 5.0) -> Blocks:
        def opened(side):  # type: ignore[no-untyped-def]
            return open_rows(side, self.data)

        index = Index(self.index.path)
        return Blocks(
            index,
            self.folder,
            failure=self.failure,
            open_rows=opened,
            asked_to_stop=lambda: False,
            patience_s=patience_s,
        )

    def documents(self, record: BlockRecord) -> list[str]:
        side = self.folder.side(record)
        tokenizer = tokenizers.load_saved(self.store.tokenizer)
        return [tokenizer.decode(side.document(number).tolist()) for number in range(record.documents)]


SitDown = Callable[..., Desk]


@pytest.fixture
def sit_down(tmp_path: Path, no_report: Callable[[Progress], None]) -> SitDown:
    """`sit_down(data)`: prepared, and the blocks of an earlier sitting at the same `desk` set aside."""

    def sit(data: HubData, *, desk: str = "run", budget: int = 10**9, ahead: int = 1) -> Desk:
        prepared = prepare_stream(data, commit=None, cache=tmp_path / "cache", report=no_report, say=print).store
        store = Store.open(prepared.path)
        width = token_type(store.summary.tokenizer.vocab_size)
        folder, index = Folder(tmp_path / desk / "blocks", token_type=width), Index(tmp_path / desk / "index.jsonl")
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.set_aside()
        streamed = open_streamed(data, commit=None)
        maker = BlockMaker(
            streamed,
            data,
            folder,
            start=read_start(store.path),
            backend=read_engine(store.path),
            eos_id=store.summary.tokenizer.eos_id,
            open_rows=lambda side: open_rows(side, data),
        )
        keeper = BlockKeeper(maker, index, folder, budget=budget, source=streamed.name, ahead=ahead)
        failure = tmp_path / desk / "failure.json"
        return Desk(store=store, index=index, folder=folder, keeper=keeper, data=data, failure=failure)

    return sit
