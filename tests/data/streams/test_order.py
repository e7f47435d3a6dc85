"""The order of a stream's rows, and how ranks get them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.batches import batch_digest
from runjob.data.block_rows import BlockOrder, BlockRows, StreamStopped
from runjob.data.blocks import BlockRecord, Folder, Index
from runjob.data.cut import Limit
from runjob.data.patience import patiently
from runjob.data.rows import open_rows
from runjob.data.stream import TrainStream
from runjob.schemas.run import write_json
from tests.data.streams.conftest import LENGTH, Desk, SitDown, hub


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
    values: dict[str, object] = {
        "documents": 1,
        "predicted": 4,
        "text_bytes": 1,
        "words": 1,
        "rows": 1,
        "size": 100,
        "sha256": "",
    }
    values["bad_rows"] = ()
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
