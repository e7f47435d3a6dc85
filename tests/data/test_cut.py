"""The cut of a global batch: every sample once, budgets held, all ranks alike, little padding."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.cut import EACH, Limit, cheapest_bounds, cut_by_length, cut_even, cut_rows


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, int, Limit]:
    ranks = draw(st.integers(1, 5))
    share = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(1, 40), min_size=ranks * share, max_size=ranks * share))
    limit = draw(
        st.builds(Limit, rows=st.integers(1, 15), tokens=st.none())
        | st.builds(Limit, rows=st.none(), tokens=st.integers(40, 300))
    )
    return np.array(lengths), ranks, limit


@settings(max_examples=300, deadline=None)
@given(batches())
def test_every_sample_is_in_one_micro_batch_and_no_budget_is_broken(batch):
    lengths, ranks, limit = batch
    cut = cut_by_length(lengths, ranks=ranks, limit=limit)
    parts = [cut.micro_batches(rank) for rank in range(ranks)]
    taken = [place for rank in parts for part in rank for place in part.tolist()]
    assert sorted(taken) == list(range(len(lengths)))
    assert list(cut.exchanged) == taken
    assert len({tuple(len(part) for part in rank) for rank in parts}) == 1
    for part in (part for rank in parts for part in rank):
        width = int(lengths[part].max())
        assert len(part) <= limit.rows if limit.rows is not None else len(part) * width <= limit.tokens


@settings(max_examples=200, deadline=None)
@given(batches())
def test_ranks_compute_nearly_the_same_number_of_tokens(batch):
    """Each takes one of every `ranks` neighbours in the order of length, so they differ by one row at most."""
    lengths, ranks, limit = batch
    cut = cut_by_length(lengths, ranks=ranks, limit=limit)
    tokens = [int(lengths[cut.places[:, rank]].sum()) for rank in range(ranks)]
    assert max(tokens) - min(tokens) <= int(lengths.max() - lengths.min())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_sorting_never_pads_more_than_any_other_order(rows: int, some: list[int], random):
    lengths = np.array(some * rows)
    random.shuffle(lengths)
    limit = Limit(rows=rows, tokens=None)
    sorted_by_us = sum(len(part) * int(lengths[part].max()) for part in cut_rows(lengths, limit=limit))
    in_order = sum(rows * int(part.max()) for part in lengths.reshape(-1, rows))
    assert sorted_by_us <= in_order


def test_an_example():
    lengths = np.array([7, 2, 9, 4, 5, 3, 8, 1])
    cut = cut_by_length(lengths, ranks=2, limit=Limit(rows=None, tokens=20))
    parts = [[lengths[part].tolist() for part in cut.micro_batches(rank)] for rank in range(2)]
    assert parts == [[[9, 7], [4, 2]], [[8, 5], [3, 1]]]
    alone = [lengths[part].tolist() for part in cut_rows(lengths, limit=Limit(rows=3, tokens=None))]
    assert alone == [[9, 8, 7], [5, 4, 3], [2, 1]]


def test_equal_rows_keep_their_order():
    cut = cut_even(12, ranks=2, limit=Limit(rows=None, tokens=9), width=4)
    parts = [[part.tolist() for part in cut.micro_batches(rank)] for rank in range(2)]
    assert parts == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    uneven = cut_even(5, ranks=1, limit=Limit(rows=2, tokens=None), width=4)
    assert [part.tolist() for part in uneven.micro_batches(0)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("rows", "tokens"), [(None, None), (2, 10), (0, None), (None, 0)])
def test_a_limit_is_one_number(rows, tokens):
    with pytest.raises(ValueError, match="not by both or neither"):
        Limit(rows=rows, tokens=tokens)


def cost(longest: list[int], ends: list[int], budget: int) -> float:
    starts = [0, *ends[:-1]]
    widths = [longest[start] * (end - start) for start, end in zip(starts, ends, strict=True)]
    assert all(end - start == 1 or width <= budget for start, end, width in zip(starts, ends, widths, strict=True))
    return sum(widths) + len(ends) * budget / EACH


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(30, 90))
def test_no_other_cut_by_tokens_costs_less(lengths: list[int], budget: int):
    longest = sorted(lengths, reverse=True)
    inner = range(1, len(longest))
    every = [[*some, len(longest)] for number in range(len(longest)) for some in combinations(inner, number)]
    held = [
        ends
        for ends in every
        if all(longest[a] * (b - a) <= budget for a, b in zip([0, *ends[:-1]], ends, strict=True))
    ]
    ours = cheapest_bounds(np.array(longest), budget)
    assert cost(longest, ours, budget) == min(cost(longest, ends, budget) for ends in held)


def test_a_long_share_is_cut_in_linear_time_and_whole():
    lengths = np.random.default_rng(1).integers(1, 60, 2 * 10_000)
    cut = cut_by_length(lengths, ranks=2, limit=Limit(rows=None, tokens=600))
    assert sum(len(part) for part in cut.micro_batches(0)) == 10_000
    assert cut.bounds[-1] == 10_000
    assert list(cut.bounds) == sorted(set(cut.bounds))
