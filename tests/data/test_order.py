"""The order of samples: a permutation every epoch, another one each time, the same for ever."""

import hashlib
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.order import Order

GOLDEN_TEN = [8, 3, 7, 2, 0, 5, 9, 1, 6, 4, 9, 3, 5, 2, 4, 7, 8, 0, 1, 6, 8, 1, 2, 0, 3, 4, 5, 9, 6, 7]
GOLDEN_MILLION = [546828, 927827, 69285, 820720]
GOLDEN_LARGE = 512240696676
GOLDEN_EPOCHS = "c4bfa351cb6aefb4"


@pytest.mark.parametrize("sizes", [range(1, 1100), range(1100, 5001, 13)], ids=str)
def test_every_size_up_to_1100_is_permuted_and_so_are_larger_ones(sizes: range):
    for size in sizes:
        rows = Order(size, seed=size % 7).rows_at((size % 5) * size, size)
        assert np.array_equal(np.sort(rows), np.arange(size)), size


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 10**6))
def test_an_epoch_visits_every_row_once(size: int, seed: int, epoch: int):
    rows = Order(size, seed).rows_at(epoch * size, size)
    assert np.array_equal(np.sort(rows), np.arange(size))


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 2**40), start=st.integers(0, 10**12), count=st.integers(0, 50))
def test_many_places_at_once_are_the_same_as_one_by_one_also_across_epochs(size: int, start: int, count: int):
    order = Order(size, seed=3)
    rows = order.rows_at(start, count).tolist()
    assert rows == [order.row_at(start + index) for index in range(count)]
    assert all(0 <= row < size for row in rows)


def test_the_order_never_changes_between_versions():
    """Golden values: a change here changes the batches of every run that is resumed, and must not happen silently."""
    assert Order(10, seed=0).rows_at(0, 30).tolist() == GOLDEN_TEN
    assert Order(10**6, seed=42).rows_at(999_998, 4).tolist() == GOLDEN_MILLION
    assert Order(2**40, seed=7).row_at(10**12) == GOLDEN_LARGE
    epochs = Order(4999, seed=1).rows_at(0, 3 * 4999)
    assert hashlib.sha256(epochs.astype("<i8").tobytes()).hexdigest()[:16] == GOLDEN_EPOCHS


def test_epochs_and_seeds_have_orders_of_their_own():
    def epoch(seed: int, number: int) -> list[int]:
        return Order(200, seed).rows_at(number * 200, 200).tolist()

    orders = [epoch(seed, number) for seed in (0, 1, 2) for number in (0, 1, 2, 10**9)]
    assert len({tuple(order) for order in orders}) == 12
    for first in orders:
        same_places = [sum(a == b for a, b in zip(first, other, strict=True)) for other in orders if other is not first]
        assert max(same_places) < 9  # two random orders agree in one place on average (Poisson: 9 in 1 of 10**6)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_order_of_a_few_rows_comes_up_equally_often(size: int):
    epochs = 50 * math.factorial(size)
    orders = Counter(map(tuple, Order(size, seed=1).rows_at(0, size * epochs).reshape(epochs, size).tolist()))
    assert len(orders) == math.factorial(size)
    chi_square = sum((count - 50) ** 2 / 50 for count in orders.values())
    freedom = math.factorial(size) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def test_neighbours_are_scattered_evenly():
    rows = Order(100_003, seed=5).rows_at(0, 100_003)
    table, _, _ = np.histogram2d(np.arange(len(rows)), rows, bins=50)
    expected = len(rows) / 2500
    chi_square = float(((table - expected) ** 2 / expected).sum())
    assert abs(chi_square - 2401) < 5 * math.sqrt(2 * 2401)
    steps = np.abs(np.diff(rows)) / len(rows)
    assert abs(float(steps.mean()) - 1 / 3) < 0.005
    assert abs(float(np.corrcoef(rows[:-1], rows[1:])[0, 1])) < 0.015


def test_a_far_place_costs_what_a_near_one_costs():
    order = Order(10**9 + 7, seed=0)

    def median_s(start: int) -> float:
        times = []
        for repeat in range(31):
            began = time.perf_counter()
            order.rows_at(start + repeat * 64, 64)
            times.append(time.perf_counter() - began)
        return sorted(times)[15]

    median_s(0)
    assert median_s(10**12) < 5 * median_s(10)


@pytest.mark.parametrize("rows", [0, -1, 2**40 + 1])
def test_an_impossible_number_of_rows_is_refused(rows: int):
    with pytest.raises(ValueError, match="between 1 and 2"):
        Order(rows, seed=0)


def test_a_place_before_the_first_is_refused():
    with pytest.raises(ValueError, match="positions start at 0"):
        Order(5, seed=0).row_at(-1)
