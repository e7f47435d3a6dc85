"""A bit that flipped anywhere in a prepared store is seen before a token of that part is used, and what nobody reads is
not read to find out."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.cut import Limit
from runjob.data.file_sums import PART_BYTES, CheckedFile, settle_files, sums_beside
from runjob.data.order import Order
from runjob.data.prepare import prepare
from runjob.data.rows import PackedRows
from runjob.data.store import SIDES, Side, Store, write_sum
from runjob.data.stream import TrainStream
from runjob.data.writer import SideWriter
from runjob.schemas.errors import DataError
from runjob.schemas.job_data import Data

SIZE = 3 * PART_BYTES + 1000


def flip(file: Path, byte: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(byte)
        (was,) = opened.read(1)
        opened.seek(byte)
        opened.write(bytes([was ^ 4]))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    file = folder / "side" / "tokens.bin"
    file.parent.mkdir()
    file.write_bytes(np.random.default_rng(1).bytes(SIZE))
    assert sorted(settle_files(folder, [file])) == ["side/tokens.bin", "side/tokens.bin.parts"]
    assert sums_beside(file).stat().st_size == 4 * 32
    return file


@settings(deadline=None, max_examples=40)
@given(damaged=st.integers(0, SIZE - 1), first=st.integers(0, SIZE - 1), length=st.integers(1, SIZE))
def test_a_flipped_bit_is_named_exactly_where_its_part_is_read(large: Path, damaged: int, first: int, length: int):
    end = min(first + length, SIZE)
    part = damaged // PART_BYTES
    flip(large, damaged)
    try:
        checked = CheckedFile(large)
        if first // PART_BYTES <= part <= (end - 1) // PART_BYTES:
            with pytest.raises(DataError, match=f"tokens.bin: damaged: part {part + 1} of 4 "):
                checked.check(first, end)
        else:
            checked.check(first, end)
        with pytest.raises(DataError, match=f"part {part + 1} of 4 "):
            checked.check_all()
    finally:
        flip(large, damaged)
    CheckedFile(large).check_all()


@pytest.fixture
def prepared(words: Path, tmp_path: Path, make_text: Callable[..., Data], no_report) -> Callable[[], Path]:
    """The store of the same job each time, found if it is there."""
    return lambda: prepare(make_text(words), seed=1, cache=tmp_path / "cache", report=no_report).path


@pytest.mark.parametrize("name", ["train/tokens.bin.parts", "validation/offsets.npy.parts", "tokenizer/tokenizer.json"])
def test_what_is_small_is_read_before_each_attempt(prepared: Callable[[], Path], name: str):
    flip(prepared() / name, 3)
    with pytest.raises(DataError, match=f"damaged \\({name}: sha256 differs\\); delete this directory"):
        prepared()


def test_the_order_of_documents_is_checked_by_who_seeks_in_it(prepared: Callable[[], Path]):
    path = prepared()
    flip(path / "train" / "offsets.npy", 200)
    train = Store.open(prepared()).train
    assert PackedRows(train, 8).row(0).input_ids.shape == (8,)
    with pytest.raises(DataError, match=r"train/offsets\.npy: damaged: part 1 of 1 \(bytes 0 to "):
        train.document(0)


def test_a_store_of_before_there_were_sums_of_parts_is_read_as_a_whole_before_each_attempt(
    prepared: Callable[[], Path],
):
    """Written as it was then, and not made again: whoever has terabytes of them keeps them."""
    path = prepared()
    raw = json.loads((path / "store.json").read_text())
    for side in SIDES:
        for name in (f"{side}/tokens.bin.parts", f"{side}/offsets.npy.parts"):
            if raw["files"].pop(name, None):
                (path / name).unlink()
    (path / "store.json").write_text(json.dumps(raw))
    write_sum(path / "store.json")
    assert prepared() == path
    assert Store.open(path).train.document(0).size
    flip(path / "train" / "tokens.bin", 5)
    with pytest.raises(DataError, match=r"damaged \(train/tokens\.bin: sha256 differs\)"):
        prepared()


PARTS, LENGTH = 8, 1024


def test_no_batch_holds_a_row_of_a_damaged_part_and_those_before_it_are_as_they_were(tmp_path: Path):
    """Rows come from all over the corpus, so some part is read late; the step that first needs it is the last."""
    with SideWriter(tmp_path / "train", eos_id=9, token_type="uint8") as writer:
        for number in range(PARTS):
            writer.append("x", bytes([number]) * (PART_BYTES - 2))
        summary = writer.close()
    files = [tmp_path / "train" / "tokens.bin", tmp_path / "train" / "offsets.npy"]
    settle_files(tmp_path, files)

    rows = PARTS * (PART_BYTES - 1) // LENGTH + 1
    order = Order(rows, seed=4)
    first_use: dict[int, int] = {}
    for step, row in enumerate(order.rows_at(0, 100).tolist(), start=1):
        for byte in (row * LENGTH, min((row + 1) * LENGTH, files[0].stat().st_size - 1)):
            first_use.setdefault(byte // PART_BYTES, step)
    late = max(first_use, key=lambda part: first_use[part])
    steps = first_use[late] - 1
    assert steps > PARTS

    def digests() -> Iterator[tuple[bytes, ...]]:
        train = PackedRows(Side(tmp_path / "train", summary=summary, token_type="uint8"), LENGTH)
        stream = TrainStream(train, order, global_batch=1, limit=Limit(rows=1, tokens=None), rank=0, ranks=1)
        try:
            for step in itertools.count(1):
                yield stream.step(step).digests
        finally:
            stream.close()

    whole = list(itertools.islice(digests(), steps + 1))
    flip(files[0], late * PART_BYTES + 77)
    damaged = digests()
    assert [next(damaged) for _ in range(steps)] == whole[:steps]
    with pytest.raises(DataError, match=rf"train/tokens\.bin: damaged: part {late + 1} of {PARTS} "):
        next(damaged)
