"""A streamed data set through the real `datasets`, offline, from directories in Hub layout: blocks, their index, their
order, and what is done when the disk is small, a reader is killed, the source changes or ends."""

import dataclasses
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data import tokenizers
from runjob.data.batches import batch_digest
from runjob.data.block_keeper import BlockKeeper, to_drop
from runjob.data.block_maker import BlockMaker
from runjob.data.block_rows import BlockOrder, BlockRows, Blocks, StreamStopped
from runjob.data.blocks import BlockRecord, Folder, Index
from runjob.data.cut import Limit
from runjob.data.patience import patiently
from runjob.data.prepare import Progress
from runjob.data.rows import open_rows
from runjob.data.samples import locate
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.data.streaming import FIRST, Reading, open_streamed
from runjob.data.streaming_prepare import prepare_stream, read_engine, read_start
from runjob.data.writer import token_type
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import Filter, FirstSplit, HubData, PretrainedTokenizer
from runjob.schemas.run import write_json

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
        bad_rows=0.0,
        min_length=3,
        filter=Filter(keep=None, drop=None),
        deduplicate=False,
        token_budget=None,
        layout="pack",
        attention="row",
        long_documents="split",
        sequence_length=LENGTH,
        tokenizer=PretrainedTokenizer(kind="pretrained", path=str(tokenizer), revision=None),
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
        prepared = prepare_stream(data, commit=None, cache=tmp_path / "cache", report=no_report).store
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


# --- the source -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["published", "lines"])
def test_from_any_state_the_document_that_comes_next_is_read(
    layout: str, request: pytest.FixtureRequest, tokenizer: Path
) -> None:
    streamed = open_streamed(hub(request.getfixturevalue(layout), tokenizer), commit=None)
    reading = streamed.read(FIRST)
    seen = [(document.text, json.dumps(reading.state)) for document in reading.documents()]
    assert len(seen) == {"published": 195, "lines": 200}[layout]
    for place in (0, 6, 7, 12, 13, 38, 39, 99, 100, 193, len(seen) - 1):
        again: Reading = streamed.read(json.loads(seen[place][1]))
        assert [document.text for document in again.documents()] == [text for text, _ in seen[place + 1 :]]


def test_a_copy_of_a_data_set_is_the_same_source_and_a_changed_one_is_not(published: Path, tokenizer: Path) -> None:
    def identity(path: Path) -> str:
        return open_streamed(hub(path, tokenizer), commit=None).identity

    first = identity(published)
    moved = published.rename(published.with_name("moved"))
    assert identity(moved) == first
    changed = moved / "data" / "train-00003-of-00005.parquet"
    pq.write_table(pa.table({"id": range(40), "text": ["other"] * 40}), changed)
    assert identity(moved) != first


def test_what_can_not_be_streamed_is_named(published: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.field: .*no column 'body', but id, text"):
        open_streamed(hub(published, tokenizer, field="body"), commit=None)
    with pytest.raises(JobError, match="Bad split: dev"):
        open_streamed(hub(published, tokenizer, subset="dev"), commit=None)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", Path("nobody/nothing")):
        with pytest.raises(MissingError, match=rf"data\.path: .*{path.name} can't be streamed"):
            open_streamed(hub(path, tokenizer), commit=None)


def test_a_row_without_text_is_named(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "gaps").mkdir()
    pq.write_table(pa.table({"text": ["one", None, "three"]}), tmp_path / "gaps" / "train.parquet")
    streamed = open_streamed(hub(tmp_path / "gaps", tokenizer), commit=None)
    with pytest.raises(DataError, match=r"file 1, row 2 .*column 'text' holds NoneType and not a string"):
        list(streamed.read(FIRST).documents())


def test_a_share_of_bad_rows_is_left_out_and_judged_block_by_block(
    tmp_path: Path, texts: list[str], tokenizer: Path, sit_down: SitDown
) -> None:
    rows: list[str | None] = [*texts[:60]]
    rows[20] = None
    rows[50:54] = [None, "with NUL \0 inside", None, None]
    (tmp_path / "gaps").mkdir()
    pq.write_table(pa.table({"text": rows}), tmp_path / "gaps" / "train.parquet")
    desk = sit_down(hub(tmp_path / "gaps", tokenizer, bad_rows=0.1, block_documents=20), ahead=0)
    desk.provide(range(1))
    assert desk.index.records[0].left_out.bad == 1
    with pytest.raises(DataError, match=r"4 rows of 24 can't be read \(16\.7 %, where data\.bad_rows allows 10 %\)"):
        desk.provide(range(desk.index.rows, desk.index.rows + 1))


# --- before training --------------------------------------------------------------------------------------------


def test_the_first_documents_are_for_validation_and_test_alone(
    published: Path, tokenizer: Path, sit_down: SitDown, texts: list[str]
) -> None:
    desk = sit_down(hub(published, tokenizer))
    summary = desk.store.summary
    assert summary.test is not None
    assert (summary.validation.documents, summary.test.documents, summary.train.documents) == (10, 5, 0)
    desk.provide(range(1))
    kept = [text for place, text in enumerate(texts) if place % 40 not in (13, 14)]
    assert desk.documents(desk.index.records[0]) == kept[15:45]


def test_a_stream_that_is_prepared_is_found_again(
    published: Path, tokenizer: Path, tmp_path: Path, no_report: Callable[[Progress], None]
) -> None:
    first, again, other = (
        prepare_stream(
            hub(published, tokenizer, min_length=length), commit=None, cache=tmp_path, report=no_report
        ).store
        for length in (3, 3, 4)
    )
    assert (first.built, again.built, other.built) == (True, False, True)
    assert again.path == first.path != other.path


def test_a_stream_shorter_than_its_split_is_refused(
    published: Path, tokenizer: Path, tmp_path: Path, no_report: Callable[[Progress], None]
) -> None:
    data = hub(published, tokenizer, split=FirstSplit(kind="first", validation=500, test=None))
    with pytest.raises(DataError, match=r"data\.split\.validation: 500 documents are asked for and the stream has 190"):
        prepare_stream(data, commit=None, cache=tmp_path, report=no_report)
    assert not [path for path in (tmp_path / "stores").iterdir() if path.suffix != ".lock"]


# --- blocks -----------------------------------------------------------------------------------------------------


def test_every_turn_gives_every_document_once_and_starts_behind_the_split(
    published: Path, tokenizer: Path, sit_down: SitDown, texts: list[str]
) -> None:
    desk = sit_down(hub(published, tokenizer))
    while len(desk.index.records) < 14:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    kept = [text for place, text in enumerate(texts) if place % 40 not in (13, 14)][15:]
    for turn in (0, 1):
        records = [record for record in desk.index.records if record.begin.cycle == turn]
        assert [record.documents for record in records] == [30, 30, 30, 30, 30, 25]
        assert [text for record in records for text in desk.documents(record)] == kept
        left_out = [record.left_out for record in records]
        assert (sum(out.empty for out in left_out), sum(out.short for out in left_out)) == (4, 4)


def test_a_turn_ends_with_the_document_that_reaches_the_token_budget(
    published: Path, tokenizer: Path, sit_down: SitDown
) -> None:
    desk = sit_down(hub(published, tokenizer, token_budget=3000))
    while desk.index.records[-1:] == [] or desk.index.records[-1].begin.cycle < 2:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    for turn in (0, 1):
        records = [record for record in desk.index.records if record.begin.cycle == turn]
        last = desk.folder.side(records[-1])
        total = sum(record.predicted for record in records)
        assert total >= 3000 > total - len(last.document(records[-1].documents - 1)) - 1


def test_the_same_place_gives_the_same_block_to_the_byte(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    one, other = (sit_down(hub(published, tokenizer), desk=desk) for desk in ("one", "other"))
    one.provide(range(200))
    other.provide(range(1))
    other.provide(range(200))
    assert one.index.path.read_bytes() == other.index.path.read_bytes()


def test_a_source_without_training_documents_is_refused(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    desk = sit_down(hub(published, tokenizer, split=FirstSplit(kind="first", validation=185, test=5)))
    with pytest.raises(DataError, match=r"holds no document to train on behind those of data\.split"):
        desk.provide(range(1))


# --- the order --------------------------------------------------------------------------------------------------


def test_the_order_is_mixed_inside_each_block_and_anew_in_each_turn(
    published: Path, tokenizer: Path, sit_down: SitDown
) -> None:
    desk = sit_down(hub(published, tokenizer))
    while len(desk.index.records) < 14:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    order, seen = BlockOrder(desk.blocks(), seed=3), {}
    for record in desk.index.records[:12]:
        first = desk.index.first_row(record.number)
        rows = order.rows_at(first, record.rows)
        assert sorted(rows) == list(range(first, first + record.rows))
        seen[record.number] = (rows - first).tolist()
    assert [len(seen[number]) for number in range(6)] == [len(seen[number]) for number in range(6, 12)]
    assert all(seen[number] != seen[number + 6] != sorted(seen[number]) for number in range(6))
    assert BlockOrder(desk.blocks(), seed=4).rows_at(0, 50).tolist() != order.rows_at(0, 50).tolist()


@given(start=st.integers(0, 400), count=st.integers(0, 120))
def test_any_position_is_found_by_itself(stream_of_six: Desk, start: int, count: int) -> None:
    order = BlockOrder(stream_of_six.blocks(), seed=3)
    whole = order.rows_at(0, 520)
    assert order.rows_at(start, count).tolist() == whole[start : start + count].tolist()


@pytest.fixture(scope="module")
def stream_of_six(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Six blocks of rows that say which they are."""
    where = tmp_path_factory.mktemp("six")
    folder, index = Folder(where / "blocks", token_type="uint16"), Index(where / "index.jsonl")
    for number in range(6):
        folder.write(number, ((f"{row}", [number * 100 + row] * 3) for row in range(40 + number)), eos_id=9)
        place = _place(number)
        index.append(_record(number, documents=40 + number, rows=80 + 4 * number, begin=place, end=_place(number + 1)))
    return Desk(
        store=None,  # type: ignore[arg-type]
        index=index,
        folder=folder,
        keeper=None,  # type: ignore[arg-type]
        data=None,  # type: ignore[arg-type]
        failure=where / "failure.json",
    )


def _place(number: int):  # type: ignore[no-untyped-def]
    from runjob.data.blocks import Place

    return Place(cycle=0, tokens=number, state={})


def _record(number: int, **changes: object) -> BlockRecord:
    from runjob.data.store import LeftOut

    nothing = LeftOut(**{field.name: 0 for field in dataclasses.fields(LeftOut)})
    values = {"documents": 1, "predicted": 4, "text_bytes": 1, "words": 1, "rows": 1, "size": 100, "sha256": ""}
    begin, end = _place(number), _place(number + 1)
    return BlockRecord(**{"number": number, "begin": begin, "end": end, "left_out": nothing, **values, **changes})  # type: ignore[arg-type]


def test_rows_come_out_as_the_blocks_hold_them(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    desk = sit_down(hub(published, tokenizer))
    desk.provide(range(300))
    rows = BlockRows(desk.blocks(), sequence_length=LENGTH, bucketed=False)
    first, second = desk.index.records[:2]
    numbers = np.array([0, first.rows - 1, first.rows, first.rows + second.rows - 1])
    assert [len(rows.row(number, position=None).input_ids) for number in numbers.tolist()] == rows.lengths(
        numbers
    ).tolist()
    inside = open_rows(desk.folder.side(second), desk.data).row(3, position=None)
    assert rows.row(first.rows + 3, position=None).labels.tolist() == inside.labels.tolist()


@pytest.mark.parametrize("layout", ["pack", "lines"])
def test_any_number_of_ranks_and_any_look_ahead_give_the_same_batches(
    published: Path, tokenizer: Path, sit_down: SitDown, layout: str
) -> None:
    desk = sit_down(hub(published, tokenizer, layout=layout))
    desk.provide(range(240))

    def batches(ranks: int, ahead: int) -> list[str]:
        seen = []
        streams = [
            TrainStream(
                BlockRows(blocks, sequence_length=LENGTH, bucketed=layout == "lines"),
                BlockOrder(blocks, seed=5),
                global_batch=16,
                limit=Limit(rows=4, tokens=None),
                rank=rank,
                ranks=ranks,
                ahead=ahead,
            )
            for rank in range(ranks)
            for blocks in [desk.blocks()]
        ]
        for step in (1, 2, 3, 9, 12):
            shares = [stream.step(step) for stream in streams]
            seen.append(batch_digest(shares[0].in_sample_order(digest for share in shares for digest in share.digests)))
        for stream in streams:
            stream.close()
        return seen

    expected = batches(1, 0)
    assert len(set(expected)) == 5
    assert batches(1, 3) == batches(2, 0) == batches(2, 2) == batches(4, 1) == expected


def test_waiting_has_an_end_and_says_for_what(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    desk = sit_down(hub(published, tokenizer))
    order = BlockOrder(desk.blocks(patience_s=0.2), seed=1)
    with pytest.raises(StreamStopped, match=r"the block with sample 0 has not come for 0\.2 s") as caught:
        order.rows_at(0, 4)
    assert caught.value.broken_off
    write_json(desk.failure, {"error": "the source changed", "broken_off": False})
    with pytest.raises(StreamStopped, match="the source changed") as caught:
        order.rows_at(0, 4)
    assert not caught.value.broken_off


def test_what_breaks_off_is_tried_again_and_then_given_up() -> None:
    said: list[str] = []
    left = [OSError("reset by peer"), EOFError("ends too early")]

    def read() -> str:
        if left:
            raise left.pop()
        return "text"

    assert patiently(read, what="the source", say=said.append, waits_s=(0.0, 0.0)) == "text"
    assert said == [
        "the source broke off (EOFError: ends too early); again in 0 s",
        "the source broke off (OSError: reset by peer); again in 0 s",
    ]
    left[:] = [OSError("gone")] * 3
    with pytest.raises(
        StreamStopped, match=r"the source broke off again and again \(OSError: gone\); resume"
    ) as caught:
        patiently(read, what="the source", say=said.append, waits_s=(0.0, 0.0))
    assert caught.value.broken_off
    left[:] = [KeyError("a bug is no broken stream")]  # type: ignore[list-item]
    with pytest.raises(KeyError):
        patiently(read, what="the source", say=said.append, waits_s=(0.0, 0.0))


# --- the disk ---------------------------------------------------------------------------------------------------


@given(
    sizes=st.dictionaries(st.integers(0, 30), st.integers(1, 50), max_size=20),
    used=st.tuples(st.integers(0, 30), st.integers(1, 4)).map(lambda pair: range(pair[0], sum(pair))),
    keep_from=st.integers(0, 30),
    budget=st.integers(0, 600),
)
def test_no_more_is_dropped_than_the_budget_asks_for_and_never_what_is_in_use(
    sizes: dict[int, int], used: range, keep_from: int, budget: int
) -> None:
    going = to_drop(sizes, used=used, keep_from=keep_from, budget=budget)
    left = sum(sizes.values()) - sum(sizes[number] for number in going)
    assert not set(going) & set(used)
    assert left <= budget or set(sizes) - set(going) <= set(used)
    if going:
        assert left + sizes[going[-1]] > budget
    no_checkpoint_needs = {number for number in sizes if number < min(keep_from, used.start)}
    if set(going) - no_checkpoint_needs:
        assert no_checkpoint_needs <= set(going)


def test_a_dropped_block_is_read_again_and_is_the_same(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    data = hub(published, tokenizer)
    whole = sit_down(data, desk="whole")
    whole.provide(range(400))
    size = max(record.size for record in whole.index.records)
    small = sit_down(data, desk="small", budget=2 * size, ahead=0)
    for position in range(0, 400, 20):
        small.provide(range(position, position + 20))
    assert small.index.path.read_bytes() == whole.index.path.read_bytes()[: small.index.path.stat().st_size]
    assert len(small.folder.numbers()) == 2 < len(small.index.records)
    assert small.provide(range(20)) == [0]
    assert small.documents(small.index.records[0]) == whole.documents(whole.index.records[0])


def test_blocks_stay_from_the_oldest_checkpoint_on_while_the_budget_allows(
    published: Path, tokenizer: Path, sit_down: SitDown
) -> None:
    desk = sit_down(hub(published, tokenizer))
    desk.provide(range(600))
    sizes = [record.size for record in desk.index.records]
    checkpoint = desk.index.first_row(2)
    again = sit_down(hub(published, tokenizer), desk="again", budget=sum(sizes[2:6]), ahead=0)
    for number in range(6):
        again.provide(range(again.index.rows, again.index.rows + 1), keep_from=min(checkpoint, again.index.rows))
        assert number in again.folder.numbers()
    assert again.folder.numbers() == [2, 3, 4, 5]


def test_a_source_that_changed_is_refused_when_a_block_is_read_again(
    tmp_path: Path, texts: list[str], tokenizer: Path, sit_down: SitDown
) -> None:
    # in the middle of a large file: neither its size nor its ends say so
    file = tmp_path / "long" / "train.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps({"text": text * 9}) + "\n" for text in texts))
    data = hub(file.parent, tokenizer, block_documents=20)
    desk = sit_down(data)
    desk.provide(range(1))
    while len(desk.index.records) < 8:
        desk.provide(range(desk.index.rows, desk.index.rows + 1))
    raw = bytearray(file.read_bytes())
    middle = raw.index(b"90 ")
    assert 65536 < middle < len(raw) - 65536
    raw[middle : middle + 3] = b"99 "
    file.write_bytes(raw)
    shutil.rmtree(desk.folder.path)  # as on another machine
    elsewhere = sit_down(data)
    first = elsewhere.index.first_row
    assert elsewhere.provide(range(first(1), first(1) + 1)) == [1, 2]
    with pytest.raises(DataError, match=r"data\.path: .*long\[train\] changed since this run read it: block 3"):
        elsewhere.provide(range(first(3), first(3) + 1))
    assert elsewhere.folder.numbers() == [1, 2]


def test_a_block_that_was_damaged_on_disk_is_read_again(published: Path, tokenizer: Path, sit_down: SitDown) -> None:
    data = hub(published, tokenizer)
    desk = sit_down(data)
    desk.provide(range(200))
    before = desk.documents(desk.index.records[0])
    tokens = desk.folder.block(0) / "tokens.bin"
    tokens.write_bytes(bytes(len(tokens.read_bytes())))
    again = sit_down(data)
    assert not again.folder.numbers()  # nothing is in sight before it has been compared
    again.provide(range(200))
    assert again.documents(again.index.records[0]) == before


def test_half_a_line_of_the_index_and_a_block_it_does_not_know_are_made_again(
    published: Path, tokenizer: Path, sit_down: SitDown
) -> None:
    data = hub(published, tokenizer)
    desk = sit_down(data)
    desk.provide(range(200))
    whole = desk.index.path.read_bytes()
    records = len(desk.index.records)
    desk.index.path.write_bytes(whole[:-9])
    (desk.folder.path / ".building-00000009").mkdir()
    again = sit_down(data)
    assert len(again.index.records) == records - 1
    again.provide(range(200))
    assert again.index.path.read_bytes() == whole
    assert not (again.folder.path / ".building-00000009").exists()
