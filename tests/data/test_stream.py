"""What the loop is fed: rows without a lost token, the same global batch for any number of ranks, any step at once."""

import hashlib
import threading
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.batches import batch_digest, make_micro_batch, sample_digest
from runjob.data.order import Order
from runjob.data.store import PackedRows, Side, SideSummary
from runjob.data.stream import EvaluationStream, StepBatch, TrainStream

EOS = 9


@pytest.fixture
def rows(make_side) -> PackedRows:
    """41 documents of 1 to 8 tokens: 223 tokens with every EOS, so 56 rows of 4, the last of 2."""
    return PackedRows(make_side([[1 + (n + i) % 8 for i in range(1 + n % 8)] for n in range(41)]), 4)


def open_stream(rows: PackedRows, *, rank: int = 0, ranks: int = 1, micro_batch: int = 2, seed: int = 1) -> TrainStream:
    order = Order(len(rows), seed)
    return TrainStream(rows, order, global_batch=8, micro_batch=micro_batch, rank=rank, ranks=ranks)


def equal(a: StepBatch, b: StepBatch) -> bool:
    return a.digests == b.digests and all(
        x.first_sample == y.first_sample
        and x.tensors.keys() == y.tensors.keys()
        and all(torch.equal(x.tensors[key], y.tensors[key]) for key in x.tensors)
        for x, y in zip(a.micro_batches, b.micro_batches, strict=True)
    )


def test_rows_are_the_stream_cut_end_to_end_with_the_next_token_as_label(make_side):
    rows = PackedRows(make_side([[1, 2], [3], [4, 5, 6]]), 4)
    # the stream: 9 1 2 9 3 9 4 5 6 9
    cut = [tuple(part.tolist() for part in rows.row(number)) for number in range(len(rows))]
    assert cut == [([9, 1, 2, 9], [1, 2, 9, 3]), ([3, 9, 4, 5], [9, 4, 5, 6]), ([6], [9])]
    assert rows.predicted == 9
    assert rows.bytes == 6
    assert rows.row(0)[0].dtype == np.int64


@settings(max_examples=50, deadline=None)
@given(tokens=st.integers(2, 200), length=st.integers(1, 40))
def test_every_token_but_the_first_is_a_label_exactly_once(tmp_path_factory, tokens: int, length: int):
    path = tmp_path_factory.mktemp("side")
    np.arange(tokens, dtype="<u2").tofile(path / "tokens.bin")
    side = Side(path, summary=SideSummary(documents=1, tokens=tokens, bytes=1), token_type="uint16")
    rows = PackedRows(side, length)
    labels = chain.from_iterable(rows.row(number)[1].tolist() for number in range(len(rows)))
    assert list(labels) == list(range(1, tokens))
    with pytest.raises(IndexError):
        rows.row(len(rows))


def test_the_end_of_every_document_is_learnt(rows: PackedRows):
    labels = chain.from_iterable(rows.row(number)[1].tolist() for number in range(len(rows)))
    assert sum(label == EOS for label in labels) == rows.side.summary.documents == 41


def test_a_short_row_is_filled_up_masked_and_not_counted(rows: PackedRows):
    micro = make_micro_batch(rows, [0, len(rows) - 1], first_sample=70)
    assert micro.tensors["input_ids"].shape == (2, 4)
    assert micro.tensors["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert micro.tensors["labels"][1].tolist()[1:] == [EOS, -100, -100]
    assert (micro.predicted, micro.tokens, micro.first_sample) == (6, 6, 70)
    assert "attention_mask" not in make_micro_batch(rows, [0, 1], first_sample=0).tensors


def test_a_digest_says_which_row_it_is_and_what_the_engine_gets_of_it(rows: PackedRows):
    micro = make_micro_batch(rows, [5, len(rows) - 1], first_sample=0)
    for number, digest in zip([5, len(rows) - 1], micro.digests, strict=True):
        input_ids, labels = rows.row(number)
        expected = hashlib.sha256(
            number.to_bytes(8, "little") + input_ids.astype("<i8").tobytes() + labels.astype("<i8").tobytes()
        )
        assert digest == expected.digest()
    input_ids, labels = rows.row(5)
    changed = {
        sample_digest(5, input_ids, labels),
        sample_digest(6, input_ids, labels),
        sample_digest(5, labels, labels),
        sample_digest(5, input_ids, input_ids),
    }
    assert len(changed) == 4
    assert batch_digest([b"a", b"b"]) == hashlib.sha256(b"ab").hexdigest()[:16]


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8])
def test_any_number_of_ranks_and_any_cut_see_the_same_global_batches(rows: PackedRows, ranks: int, micro_batch: int):
    whole = open_stream(rows, micro_batch=8)
    parts = [open_stream(rows, rank=rank, ranks=ranks, micro_batch=micro_batch) for rank in range(ranks)]
    for step in range(1, 18):  # 56 rows and 8 a step: two epochs and more
        expected = whole.step(step)
        shares = [part.step(step) for part in parts]
        assert batch_digest(chain.from_iterable(share.digests for share in shares)) == batch_digest(expected.digests)
        assert sum(share.predicted for share in shares) == expected.predicted
        assert sum(share.tokens for share in shares) == expected.tokens
        assert len({len(share.micro_batches) for share in shares}) == 1
        assert max(len(micro.digests) for share in shares for micro in share.micro_batches) <= micro_batch
        first = [micro.first_sample for share in shares for micro in share.micro_batches]
        assert first[0] == (step - 1) * 8
        assert first == sorted(set(first))
    for stream in [whole, *parts]:
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

    def row(self, number: int):
        self.reads += 1
        return super().row(number)


def test_the_billionth_step_costs_what_the_tenth_costs(rows: PackedRows):
    reads = []
    for step in (10, 10**9):
        counting = CountingRows(rows.side, 4)
        stream = TrainStream(counting, Order(len(rows), 1), global_batch=8, micro_batch=2, rank=0, ranks=1, ahead=0)
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
    def row(self, number: int):
        raise OSError("the disk is gone")


def test_what_goes_wrong_in_the_thread_reaches_the_caller(rows: PackedRows):
    stream = TrainStream(BrokenRows(rows.side, 4), Order(len(rows), 1), global_batch=8, micro_batch=2, rank=0, ranks=1)
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
def test_evaluation_takes_every_row_once_and_keeps_the_ranks_in_step(rows: PackedRows, ranks: int):
    streams = [EvaluationStream(rows, micro_batch=3, rank=rank, ranks=ranks) for rank in range(ranks)]
    turns = [list(stream) for stream in streams]
    assert {len(turn) for turn in turns} == {len(streams[0])} == {-(-56 // (3 * ranks))}
    in_order = sorted(chain.from_iterable(turns), key=lambda micro: micro.first_sample)
    digests = list(chain.from_iterable(micro.digests for micro in in_order))
    assert digests == [sample_digest(number, *rows.row(number)) for number in range(56)]
    assert sum(micro.predicted for micro in in_order) == rows.predicted
    assert sum(micro.tokens for micro in in_order) == rows.predicted


def test_an_idle_turn_predicts_nothing_and_attends_to_something(rows: PackedRows):
    turns: Iterator = iter(EvaluationStream(rows, micro_batch=56, rank=1, ranks=2))
    idle = next(turns)
    assert (idle.predicted, idle.tokens, idle.digests) == (0, 0, ())
    assert idle.tensors["labels"].unique().tolist() == [-100]
    assert "attention_mask" not in idle.tensors
    assert list(turns) == []


def test_a_batch_that_does_not_divide_is_refused(rows: PackedRows):
    with pytest.raises(ValueError, match="global batch of 8"):
        open_stream(rows, ranks=3)
    with pytest.raises(ValueError, match="an order of 5 rows for a corpus of 56"):
        TrainStream(rows, Order(5, 1), global_batch=8, micro_batch=2, rank=0, ranks=1)
