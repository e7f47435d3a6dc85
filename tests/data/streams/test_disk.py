"""Which blocks of a stream stay on a small disk, and what is done when they, or the source, are not what they were."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.block_keeper import to_drop
from runjob.schemas.errors import DataError
from tests.data.streams.conftest import SitDown, hub


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
