"""What is hidden: shares over a million tokens against those that the job asks for; and that a key decides it all."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.corruptions import IGNORED, Draws, Masking, corrupt
from runjob.data.words import Boundaries
from runjob.schemas.job_model import Replace, Span

VOCABULARY, SPECIAL, MASK = 1000, 5, 4
# A number of standard deviations that a right share exceeds once in 16,000 tests
SURE = 4.0

PLAIN = Masking(
    probability=0.15,
    replace=Replace(mask=0.8, random=0.1, keep=0.1),
    span=None,
    mask_id=MASK,
    special=np.arange(VOCABULARY) < SPECIAL,
    ordinary=np.arange(SPECIAL, VOCABULARY),
    boundaries=None,
)
# Of the ordinary ids, two of five go on with the word before them, and one in fifty ends its own
WORDS = dataclasses.replace(
    PLAIN, boundaries=Boundaries(opens=np.arange(VOCABULARY) % 5 > 1, closes=np.arange(VOCABULARY) % 50 == 7)
)
SPANS = dataclasses.replace(PLAIN, span=Span(geometric=0.2, longest=10))


def rows(total: int, *, lengths=(128,), specials: float = 0.0):
    """Rows of random ids, `total` tokens together."""
    random, made, number = np.random.default_rng(0), 0, 0
    while made < total:
        length = lengths[number % len(lengths)]
        ids = random.integers(SPECIAL, VOCABULARY, length)
        ids[random.random(length) < specials] = 2
        yield number, ids
        made, number = made + length, number + 1


def word_numbers(ids: np.ndarray, masking: Masking) -> list[int | None]:
    """By the definition, token by token; None at special ones."""
    numbers: list[int | None] = []
    word, begins = -1, True
    for token in ids.tolist():
        if masking.special[token]:
            numbers.append(None)
            begins = True
            continue
        word += begins or bool(masking.boundaries.opens[token])
        numbers.append(word)
        begins = bool(masking.boundaries.closes[token])
    return numbers


def assert_share(count: int, of: int, nominal: float, *, spread: float = 1.0) -> None:
    """`spread`: how many units stand and fall together."""
    deviation = math.sqrt(nominal * (1 - nominal) * spread / of)
    assert count / of == pytest.approx(nominal, abs=SURE * deviation)


@pytest.mark.parametrize("probability", [0.05, 0.15, 0.4])
@pytest.mark.parametrize(
    ("masking", "lengths", "spread"),
    # how many tokens stand and fall together: a word's, a run's
    [(PLAIN, (128,), 1), (PLAIN, (1, 2, 3, 7, 20), 1), (WORDS, (128,), 3), (WORDS, (4, 9), 3)],
    ids=["tokens", "tokens of short rows", "words", "words of short rows"],
)
def test_the_share_of_hidden_tokens_is_the_jobs_over_a_million(masking, lengths, spread, probability):
    masking = dataclasses.replace(masking, probability=probability)
    total = 1_000_000 if lengths == (128,) else 30_000
    hidden = ordinary = 0
    for number, ids in rows(total, lengths=lengths, specials=0.03):
        _, labels = corrupt(ids, masking, key=(1, "train", number))
        assert not masking.special[ids[labels != IGNORED]].any()
        hidden += int((labels != IGNORED).sum())
        ordinary += int((~masking.special[ids]).sum())
    assert_share(hidden, ordinary, probability, spread=spread)


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_hidden_tokens_are_masked_replaced_and_kept_in_the_jobs_shares(shares):
    mask, random, keep = shares
    masking = dataclasses.replace(PLAIN, replace=Replace(mask=mask, random=random, keep=keep))
    counts, drawn = np.zeros(3), np.zeros(VOCABULARY, dtype=np.int64)
    for number, ids in rows(1_000_000):
        inputs, labels = corrupt(ids, masking, key=(1, "train", number))
        hidden = labels != IGNORED
        assert (labels[hidden] == ids[hidden]).all()
        assert (inputs[~hidden] == ids[~hidden]).all()
        masked, same = inputs[hidden] == MASK, inputs[hidden] == ids[hidden]
        counts += masked.sum(), (~masked & ~same).sum(), same.sum()
        drawn += np.bincount(inputs[hidden][~masked & ~same], minlength=VOCABULARY)
    of = int(counts.sum())
    by_chance = random / len(PLAIN.ordinary)  # a replacement may be the token itself
    for count, nominal in zip(counts, (mask, random - by_chance, keep + by_chance), strict=True):
        assert_share(int(count), of, nominal)
    assert drawn[:SPECIAL].sum() == 0
    if random == 1.0:
        expected = drawn.sum() / len(PLAIN.ordinary)
        assert np.abs(drawn[SPECIAL:] - expected).max() < 6 * math.sqrt(expected)


def test_spans_have_the_lengths_of_their_distribution_and_hide_the_jobs_share():
    lengths: list[int] = []
    hidden = 0
    for number, ids in rows(1_000_000):
        _, labels = corrupt(ids, SPANS, key=(1, "train", number))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], labels != IGNORED, [0]]).astype(int)))
        lengths += (edges[1::2] - edges[::2]).tolist()
        hidden += int((labels != IGNORED).sum())
    chances = 0.8 ** np.arange(10.0)
    chances /= chances.sum()
    measured = np.bincount(lengths, minlength=11)[1:]
    assert len(measured) == 10
    for count, nominal in zip(measured, chances, strict=True):
        assert_share(int(count), len(lengths), nominal)
    assert float(np.mean(lengths)) == pytest.approx(3.797, abs=0.03)  # SpanBERT's 3.8
    assert_share(hidden, 1_000_000, 0.15, spread=7)


@pytest.mark.parametrize("length", [1, 3, 9, 16])
def test_spans_of_short_rows_hide_the_jobs_share_and_at_most_half_a_row_at_once(length):
    hidden, total = 0, 0
    for number, ids in rows(3_000 * length, lengths=(length,)):
        _, labels = corrupt(ids, SPANS, key=(1, "train", number))
        found = (labels != IGNORED).astype(int)
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], found, [0]]))))[::2]
        assert max(runs, default=0) <= max(length // 2, 1)
        hidden, total = hidden + found.sum(), total + length
    assert_share(hidden, total, 0.15, spread=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=60), st.integers(0, 2**32))
def test_a_word_is_hidden_whole_or_not_at_all(ids, seed):
    masking = dataclasses.replace(WORDS, probability=0.5)
    ids = np.array(ids)
    _, labels = corrupt(ids, masking, key=(seed, "train", 0))
    fate: dict[int, bool] = {}
    for word, hidden in zip(word_numbers(ids, masking), (labels != IGNORED).tolist(), strict=True):
        if word is None:
            assert not hidden
        else:
            assert fate.setdefault(word, hidden) == hidden
    words = len(fate)
    assert abs(sum(fate.values()) - 0.5 * words) < 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.sampled_from([PLAIN, WORDS, SPANS]), st.integers(0, 2**32), st.integers(0, 2**40))
def test_the_key_alone_decides(length, masking, seed, position):
    ids = np.random.default_rng(length).integers(0, VOCABULARY, length)
    before = ids.copy()
    first = corrupt(ids, masking, key=(seed, "train", position))
    np.random.default_rng().random(7)
    again = corrupt(ids, masking, key=(seed, "train", position))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (ids == before).all()


def test_seed_purpose_and_position_each_change_what_is_hidden():
    ids = np.arange(SPECIAL, VOCABULARY)[:500]
    keys = [(1, "train", 7), (2, "train", 7), (1, "train", 8), (1, "evaluation", 7)]
    found = {corrupt(ids, PLAIN, key=key)[1].tobytes() for key in keys}
    assert len(found) == 4


def test_the_numbers_of_a_key_never_change():
    """Otherwise a run that is resumed with another version would see other masks."""
    drawn = Draws((42, "train", 7)).uniform(3).tolist()
    assert drawn == [
        0.05987614118896367,
        0.21439863305727036,
        0.44844273048365724,
    ]


def test_a_row_of_special_tokens_hides_nothing():
    inputs, labels = corrupt(np.array([1, 2, 3]), WORDS, key=(1, "train", 0))
    assert inputs.tolist() == [1, 2, 3]
    assert labels.tolist() == [IGNORED] * 3
