"""What the loop is fed: the same global batch for any number of ranks and any cut, any step at once."""

import hashlib
import threading
from collections.abc import Iterator
from itertools import chain

import pytest
import torch

from runjob.data.batches import MicroBatch, batch_digest, make_micro_batch, sample_digest
from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.rows import DocumentRows, PackedRows, Row, Rows
from runjob.data.stream import EvaluationStream, StepBatch, TrainStream

EOS = 9


DOCUMENTS = [[1 + (n + i) % 8 for i in range(1 + n % 8)] for n in range(41)]


@pytest.fixture
def rows(make_side) -> PackedRows:
    """41 documents of 1 to 8 tokens: 223 tokens with every EOS, so 56 rows of 4, the last of 2."""
    return PackedRows(make_side(DOCUMENTS), 4)


@pytest.fixture
def lines(make_side) -> DocumentRows:
    """The same documents, each a row of 2 to 6 tokens, the longer ones two rows: 51 rows."""
    return DocumentRows(make_side(DOCUMENTS), 6, truncate=False)


@pytest.fixture(params=["pack", "lines"])
def either(request: pytest.FixtureRequest) -> Rows:
    return request.getfixturevalue("rows" if request.param == "pack" else "lines")


def by_rows(number: int) -> Limit:
    return Limit(rows=number, tokens=None)


def by_tokens(number: int) -> Limit:
    return Limit(rows=None, tokens=number)


TWO = by_rows(2)


def open_stream(
    rows: Rows, *, rank: int = 0, ranks: int = 1, limit: Limit = TWO, seed: int = 1, ahead: int = 2
) -> TrainStream:
    order = Order(len(rows), seed)
    return TrainStream(rows, order, global_batch=8, limit=limit, rank=rank, ranks=ranks, ahead=ahead)


def fill_up(rows: Rows, numbers: list[int], *, first_sample: int) -> MicroBatch:
    chosen = [rows.row(number, position=None) for number in numbers]
    return make_micro_batch(chosen, numbers, width=rows.sequence_length, first_sample=first_sample)


def equal(a: StepBatch, b: StepBatch) -> bool:
    return a.digests == b.digests and all(
        x.first_sample == y.first_sample
        and x.tensors.keys() == y.tensors.keys()
        and all(torch.equal(x.tensors[key], y.tensors[key]) for key in x.tensors)
        for x, y in zip(a.micro_batches, b.micro_batches, strict=True)
    )


def test_a_short_row_is_filled_up_masked_and_not_counted(rows: PackedRows):
    micro = fill_up(rows, [0, len(rows) - 1], first_sample=70)
    assert micro.tensors["input_ids"].shape == (2, 4)
    assert micro.tensors["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert micro.tensors["labels"][1].tolist()[1:] == [EOS, -100, -100]
    assert (micro.predicted, micro.tokens, micro.first_sample) == (6, 6, 70)
    assert "attention_mask" not in fill_up(rows, [0, 1], first_sample=0).tensors


def test_a_digest_says_which_row_it_is_and_what_the_engine_gets_of_it(rows: PackedRows):
    micro = fill_up(rows, [5, len(rows) - 1], first_sample=0)
    for number, digest in zip([5, len(rows) - 1], micro.digests, strict=True):
        row = rows.row(number)
        expected = hashlib.sha256(
            number.to_bytes(8, "little") + row.input_ids.astype("<i8").tobytes() + row.labels.astype("<i8").tobytes()
        )
        assert digest == expected.digest()
    row = rows.row(5)
    changed = {
        sample_digest(5, row),
        sample_digest(6, row),
        sample_digest(5, Row(input_ids=row.labels, labels=row.labels, position_ids=None)),
        sample_digest(5, Row(input_ids=row.input_ids, labels=row.input_ids, position_ids=None)),
    }
    assert len(changed) == 4
    assert batch_digest([b"a", b"b"]) == hashlib.sha256(b"ab").hexdigest()[:16]


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("limit", [by_rows(1), by_rows(3), by_tokens(6), by_tokens(17)], ids=str)
def test_any_number_of_ranks_and_any_cut_see_the_same_global_batches(either: Rows, ranks: int, limit: Limit):
    whole = open_stream(either, limit=by_rows(8))
    parts = [open_stream(either, rank=rank, ranks=ranks, limit=limit) for rank in range(ranks)]
    order = Order(len(either), 1)
    for step in range(1, 18):  # 56 rows and 8 a step: two epochs and more
        expected = [
            sample_digest(number, either.row(number, position=None))
            for number in order.rows_at((step - 1) * 8, 8).tolist()
        ]
        assert whole.step(step).in_sample_order(whole.step(step).digests) == tuple(expected)
        shares = [part.step(step) for part in parts]
        exchanged = list(chain.from_iterable(share.digests for share in shares))
        assert {share.in_sample_order(exchanged) for share in shares} == {tuple(expected)}
        assert sum(share.predicted for share in shares) == whole.step(step).predicted
        assert sum(share.tokens for share in shares) == whole.step(step).tokens
        assert len({len(share.micro_batches) for share in shares}) == 1
        cut = list(chain.from_iterable(share.micro_batches for share in shares))
        assert all(holds(limit, micro) for micro in cut)
        first = [micro.first_sample for micro in cut]
        assert len(set(first)) == len(first)
        assert {sample // 8 for sample in first} == {step - 1}
    for stream in [whole, *parts]:
        stream.close()


def holds(limit: Limit, micro: MicroBatch) -> bool:
    height, width = micro.tensors["input_ids"].shape
    return height <= limit.rows if limit.rows is not None else height * width <= (limit.tokens or 0)


def test_packed_shares_are_contiguous_and_in_order(rows: PackedRows):
    parts = [open_stream(rows, rank=rank, ranks=2) for rank in range(2)]
    first = [micro.first_sample for part in parts for micro in part.step(3).micro_batches]
    assert first == [16, 18, 20, 22]
    for part in parts:
        part.close()


def test_rows_of_lines_are_as_wide_as_the_longest_beside_them_and_the_longest_come_first(lines: DocumentRows):
    stream = open_stream(lines, limit=by_tokens(12))
    widths = []
    for step in range(1, 8):
        for micro in stream.step(step).micro_batches:
            lengths = micro.tensors["attention_mask"].sum(1) if "attention_mask" in micro.tensors else None
            width = micro.tensors["input_ids"].shape[1]
            assert lengths is None or int(lengths.max()) == width
            widths.append((step, width))
    assert widths == sorted(widths, key=lambda pair: (pair[0], -pair[1]))
    assert {width for _, width in widths} == {1, 2, 3, 4, 5, 6}
    stream.close()


def test_an_epoch_of_steps_holds_every_row_once(make_side):
    rows = PackedRows(make_side([[1, 2, 3]] * 20), 5)  # 81 tokens: 16 rows, two steps
    stream = open_stream(rows)
    seen = [digest for step in (1, 2) for digest in stream.step(step).digests]
    again = [digest for step in (3, 4) for digest in stream.step(step).digests]
    stream.close()
    assert len(set(seen)) == 16
    assert set(seen) == set(again)
    assert seen != again


def test_a_step_asked_for_at_once_is_the_one_reached_by_walking(rows: PackedRows):
    walking, seeking = open_stream(rows), open_stream(rows)
    walked = {step: walking.step(step) for step in range(1, 13)}
    for step in (12, 3, 3, 4, 5, 1, 11):
        assert equal(seeking.step(step), walked[step])
    walking.close()
    fresh = open_stream(rows)
    assert equal(fresh.step(9), walked[9])
    assert not equal(fresh.step(10), walked[9])
    for stream in (seeking, fresh):
        stream.close()


class CountingRows(PackedRows):
    """Rows that count how often one is read."""

    reads = 0

    def row(self, number: int, *, position: int | None = None) -> Row:
        self.reads += 1
        return super().row(number, position=position)


def test_the_billionth_step_costs_what_the_tenth_costs(rows: PackedRows):
    reads = []
    for step in (10, 10**9):
        counting = CountingRows(rows.side, 4)
        stream = open_stream(counting, ahead=0)
        stream.step(step)
        stream.close()
        reads.append(counting.reads)
    assert reads == [8, 8]


def test_the_seed_decides_the_order(rows: PackedRows):
    one, other = open_stream(rows, seed=1), open_stream(rows, seed=2)
    assert one.step(1).digests != other.step(1).digests
    one.close()
    other.close()


def test_the_next_steps_are_built_while_the_loop_works(rows: PackedRows):
    stream = open_stream(rows)
    assert stream.step(1).wait_s > 0
    stream.step(2)
    built = threading.Event()
    stream._thread.submit(built.set)  # one thread: this runs when what was asked before it is done
    assert built.wait(10)
    assert all(future.done() for future in stream._building.values())
    assert sorted(stream._building) == [3, 4]
    stream.close()


class BrokenRows(PackedRows):
    def row(self, number: int, *, position: int | None = None) -> Row:
        raise OSError("the disk is gone")


def test_what_goes_wrong_in_the_thread_reaches_the_caller(rows: PackedRows):
    stream = open_stream(BrokenRows(rows.side, 4))
    with pytest.raises(OSError, match="the disk is gone"):
        stream.step(1)
    stream.close()


def test_closing_ends_the_thread(rows: PackedRows):
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("train-stream")]

    before = threads()
    stream = open_stream(rows)
    stream.step(1)
    assert len(threads()) == len(before) + 1
    stream.close()
    assert threads() == before


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 30])
@pytest.mark.parametrize("limit", [by_rows(3), by_tokens(14)], ids=str)
def test_evaluation_takes_every_row_once_and_keeps_the_ranks_in_step(either: Rows, ranks: int, limit: Limit):
    turns = [
        list(EvaluationStream(either, span=range(len(either)), limit=limit, rank=rank, ranks=ranks))
        for rank in range(ranks)
    ]
    alone = list(EvaluationStream(either, span=range(len(either)), limit=limit, rank=0, ranks=1))
    assert {len(turn) for turn in turns} == {-(-len(alone) // ranks)}
    dealt = [micro for turn in zip(*turns, strict=True) for micro in turn if micro.digests]
    assert [micro.digests for micro in dealt] == [micro.digests for micro in alone]
    assert all(holds(limit, micro) for micro in alone)
    digests = list(chain.from_iterable(micro.digests for micro in alone))
    expected = [sample_digest(number, either.row(number, position=None)) for number in range(56)]
    assert sorted(digests) == sorted(expected)
    assert either.bucketed or digests == expected
    assert sum(micro.predicted for micro in alone) == either.predicted == 222
    assert sum(micro.tokens for micro in alone) == 222


def test_an_idle_turn_predicts_nothing_and_attends_to_something(rows: PackedRows):
    turns: Iterator = iter(EvaluationStream(rows, span=range(len(rows)), limit=by_rows(56), rank=1, ranks=2))
    idle = next(turns)
    assert (idle.predicted, idle.tokens, idle.digests) == (0, 0, ())
    assert idle.tensors["labels"].unique().tolist() == [-100]
    assert "attention_mask" not in idle.tensors
    assert list(turns) == []


def test_a_batch_that_does_not_divide_is_refused(rows: PackedRows):
    with pytest.raises(ValueError, match="global batch of 8"):
        open_stream(rows, ranks=3)
    with pytest.raises(ValueError, match="an order of 5 rows for a corpus of 56"):
        TrainStream(rows, Order(5, 1), global_batch=8, limit=by_rows(2), rank=0, ranks=1)
