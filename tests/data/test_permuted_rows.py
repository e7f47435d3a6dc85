"""Rows for objective plm: which words are hidden, behind what, and in which order they are predicted: pure functions of
(seed, position), 15 % of every row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runjob.data.batches import batch_digest
from runjob.data.corruptions import IGNORED, Masking
from runjob.data.cut import Limit
from runjob.data.masked_rows import MaskedRows
from runjob.data.order import Order
from runjob.data.ordered_rows import OrderedRows
from runjob.data.rows import Row
from runjob.data.store import TokenizerSummary
from runjob.data.stream import TrainStream
from runjob.data.words import Boundaries
from runjob.schemas.job_model import Replace

# MPNet's marks, then pieces that begin a word, then those that go on with one
CLS, PAD, SEP, UNK, MASK, BEGINS, GOES_ON, END = 0, 1, 2, 3, 4, 5, 60, 100
WORDS = TokenizerSummary(fingerprint="", vocab_size=END, eos_id=SEP, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK)
MASKING = Masking(
    probability=0.15,
    replace=Replace(mask=0.8, random=0.1, keep=0.1),
    span=None,
    mask_id=MASK,
    special=np.arange(END) < BEGINS,
    ordinary=np.arange(BEGINS, END),
    boundaries=Boundaries(opens=np.arange(END) < GOES_ON, closes=np.arange(END) < BEGINS),
)
texts = st.lists(st.integers(BEGINS, END - 1), min_size=1, max_size=60)


class Texts:
    """The same text in every row, as rows of text are: its tokens are the labels."""

    bucketed, bytes, sections = True, 0, (1 << 40,)

    def __init__(self, text: list[int]) -> None:
        self.text = np.array(text, dtype=np.int64)
        self.sequence_length = len(text)

    def __len__(self) -> int:
        return 1 << 40

    def lengths(self, numbers):
        return np.full(len(numbers), len(self.text))

    def row(self, number: int, *, position: int | None) -> Row:
        return Row(input_ids=self.text, labels=self.text, position_ids=None)


def permuted(text: list[int], *, seed: int = 1) -> OrderedRows:
    return OrderedRows(MaskedRows(Texts(text), WORDS, MASKING, seed=seed), seed=seed)


def words_of(ids: np.ndarray) -> list[list[int]]:
    """Places of each word, as WordPiece marks them: by another way than the one that is tested."""
    words: list[list[int]] = []
    for place, token in enumerate(ids.tolist()):
        if token < BEGINS:
            continue
        if token >= GOES_ON and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words


@given(texts, st.integers(0, 2**40))
def test_no_word_is_cut_no_mark_is_hidden_and_each_hidden_token_has_one_place_in_the_order(text, position):
    row = permuted(text).row(7, position=position)
    hidden = row.labels != IGNORED
    whole = np.where(hidden, row.labels, row.input_ids)
    assert whole.tolist() == [CLS, *text, SEP]
    words = words_of(whole)
    assert all(len({bool(hidden[place]) for place in word}) == 1 for word in words)
    chosen = sum(bool(hidden[word[0]]) for word in words)
    assert int(0.15 * len(words)) <= chosen <= int(0.15 * len(words)) + 1
    assert row.order is not None
    assert sorted(row.order[hidden].tolist()) == list(range(int(hidden.sum())))
    assert bool((row.order[~hidden] == -1).all())
    assert bool((row.input_ids[hidden] >= MASK).all())


@given(texts, st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_row_is_a_function_of_seed_and_position_and_in_evaluation_of_its_number(text, position, other):
    one, again = permuted(text), permuted(text)
    other_first = again.row(1, position=other)
    for left, right in (
        (one.row(3, position=position), again.row(3, position=position)),
        (one.row(3, position=None), again.row(3, position=None)),
        (one.row(1, position=other), other_first),
    ):
        assert left.input_ids.tolist() == right.input_ids.tolist()
        assert left.labels.tolist() == right.labels.tolist()
        assert left.order is not None and right.order is not None
        assert left.order.tolist() == right.order.tolist()


def test_orders_differ_from_epoch_to_epoch_and_by_seed():
    text = [BEGINS + number % 50 for number in range(60)]

    def orders(seed: int, places: list[int | None]) -> set[tuple[int, ...]]:
        rows = [permuted(text, seed=seed).row(number, position=place) for number, place in enumerate(places)]
        return {tuple(row.order.tolist()) for row in rows if row.order is not None}

    trained = orders(1, [5, 6, 7, 8])
    assert len(trained) == 4
    assert not trained & orders(2, [5, 6, 7, 8])
    assert len(orders(1, [None, None, None])) == 3


def test_every_length_of_row_is_predicted_by_fifteen_percent_and_every_order_is_as_likely():
    random = np.random.default_rng(3)
    for length in (4, 13, 50):
        text = random.integers(BEGINS, END, length).tolist()
        rows = permuted(text)
        hidden, first = 0, np.zeros(length + 2)
        for position in range(1500):
            row = rows.row(0, position=position)
            hidden += int((row.labels != IGNORED).sum())
            assert row.order is not None
            first[row.order == 0] += 1
        # words of several tokens make single counts uneven: five standard deviations
        assert abs(hidden / (1500 * length) - 0.15) < 5 * np.sqrt(0.15 / (1500 * length)) * 2
        assert first[0] == first[-1] == 0
        assert (first[1:-1] > 0).all()


def test_any_look_ahead_and_number_of_ranks_give_the_same_batches_and_hand_their_order_on():
    def batches(ranks: int, ahead: int) -> list[str]:
        rows = permuted(list(range(BEGINS, BEGINS + 40)))
        limit = Limit(rows=4, tokens=None)
        streams = [
            TrainStream(rows, Order(len(rows), 5), global_batch=8, limit=limit, rank=rank, ranks=ranks, ahead=ahead)
            for rank in range(ranks)
        ]
        seen = []
        for number in (1, 2, 3, 9, 12):
            shares = [stream.step(number) for stream in streams]
            assert all("order" in micro.tensors for share in shares for micro in share.micro_batches)
            seen.append(batch_digest(shares[0].in_sample_order(digest for share in shares for digest in share.digests)))
        for stream in streams:
            stream.close()
        return seen

    expected = batches(1, 0)
    assert len(set(expected)) == 5
    assert batches(1, 1) == batches(1, 4) == batches(2, 0) == batches(2, 4) == expected
