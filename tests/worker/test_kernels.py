"""The fused kernels against torch's own operations in float64: values, gradients, masks of dropout, and the same bits
whoever computes them."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from runjob.runner.worker.kernels import softmax
from runjob.runner.worker.kernels.attention import LONG, Attention, fused_attention
from runjob.runner.worker.kernels.draw import NOTHING_DROPPED, Draw, draw
from runjob.runner.worker.kernels.elementwise import Dropped, FusedDropout, FusedGelu, Gelu
from runjob.runner.worker.kernels.norm import SumNorm

pytestmark = pytest.mark.usefixtures("kernels")

# bf16 knows a number to 1 in 256; the products before and after the kernels round too
CLOSE = 0.012
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.integers(1, 70)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def drawn(*shape: int, seed: int = 0, kind: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Numbers whose bf16 form is exact, so that both sides begin with the same."""
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()
    return numbers.to(kind).requires_grad_()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Distance relative to the length of the second."""
    distance, length = (one.double() - other.double()).norm().item(), other.double().norm().item()
    return distance / length if length else distance


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *, scale: float
) -> torch.Tensor:
    scores = query @ key.transpose(-1, -2) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
    return (torch.softmax(scores, -1).nan_to_num() @ value).transpose(1, 2)


def masks(batches: int, heads: int, queries: int, keys: int) -> dict[str, torch.Tensor | None]:
    places = torch.arange(keys)
    padding = (places < torch.randint(1, keys + 1, (batches, 1, 1, 1))).expand(batches, 1, 1, keys)
    window = ((torch.arange(queries)[:, None] - places).abs() <= 3)[None, None]
    blind = padding.expand(batches, 1, queries, keys).clone()
    blind[0, 0, 0] = False
    return {
        "none": None,
        "padding": padding,
        "window": window & padding,
        "a row that sees nothing": blind,
        "one for all": torch.ones(1, 1, 1, 1, dtype=torch.bool),
        "added": torch.randn(1, heads, queries, keys),
        "added in bf16": torch.randn(batches, 1, 1, keys).bfloat16(),
        "added, the smallest": torch.zeros(padding.shape).masked_fill(~padding, torch.finfo(torch.float32).min),
    }


# Rows, heads, queries, keys, width: vectors of 16 are full, broken, and not there at all
SHAPES = [(2, 3, 64, 64, 32), (3, 2, 37, 37, 16), (1, 2, 65, 19, 33), (2, 1, 5, 131, 8), (2, 2, 7, 1, 4)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_is_that_of_torch_with_every_kind_of_mask(shape, causal):
    batches, heads, queries, keys, width = shape
    queries = keys if causal else queries
    torch.manual_seed(1)
    query = drawn(batches, heads, queries, width, seed=1)
    key, value = (drawn(batches, heads, keys, width, seed=seed) for seed in (2, 3))
    upwards = torch.randn(batches, queries, heads, width)
    kinds = masks(batches, heads, queries, keys) if not causal else {"causal": None}
    for name, mask in kinds.items():
        answer = Attention.apply(query, key, value, mask, 0.3, causal, NOTHING_DROPPED)
        exact = [each.detach().double().requires_grad_() for each in (query, key, value)]
        seen = torch.ones(queries, keys).tril().bool() if causal else mask
        expected = plain_attention(*exact, seen, scale=0.3)
        assert apart(answer, expected) < CLOSE, name
        ours = torch.autograd.grad((answer.double() * upwards).sum(), (query, key, value))
        theirs = torch.autograd.grad((expected * upwards).sum(), exact)
        size = max(each.norm().item() for each in theirs)
        for one, other in zip(ours, theirs, strict=True):
            # with one key to see nothing hangs on queries and keys
            assert (one.double() - other).norm().item() <= CLOSE * size, name


def test_a_bias_learns_whatever_shape_it_was_spread_from():
    query, key, value = (drawn(2, 3, 9, 8, seed=seed) for seed in range(3))
    upwards = torch.randn(2, 9, 3, 8)
    for shape in ((2, 3, 9, 9), (1, 3, 9, 9), (2, 1, 1, 9)):
        bias = drawn(*shape, seed=4, kind=torch.float32)
        answer = Attention.apply(query, key, value, bias, 0.5, False, NOTHING_DROPPED)
        ours = torch.autograd.grad((answer.double() * upwards).sum(), (query, key, value, bias))
        exact = [each.detach().double().requires_grad_() for each in (query, key, value, bias)]
        expected = plain_attention(*exact, scale=0.5)
        theirs = torch.autograd.grad((expected * upwards).sum(), exact)
        assert ours[3].shape == shape and ours[3].dtype is torch.float32
        assert all(apart(one, other) < CLOSE for one, other in zip(ours, theirs, strict=True))


def test_attention_drops_on_the_way_back_what_it_dropped_on_the_way_there():
    """Values that are a unit matrix show the probabilities, dropped ones as zeros; their gradient shows them again."""
    length, torch_seed = 64, 3
    torch.manual_seed(torch_seed)
    chosen = draw(0.3)
    query, key = drawn(2, 2, length, length, seed=1), drawn(2, 2, length, length, seed=2)
    value = torch.eye(length).bfloat16().expand(2, 2, length, length).clone().requires_grad_()
    whole = Attention.apply(query, key, value, None, 0.1, False, NOTHING_DROPPED).transpose(1, 2)
    answer = Attention.apply(query, key, value, None, 0.1, False, chosen).transpose(1, 2)
    kept = answer != 0
    assert abs(kept.float().mean().item() - 0.7) < 5 * math.sqrt(0.21 / kept.numel())
    assert apart(answer, whole * kept / 0.7) < CLOSE
    # the gradient of value j, given ones from query i alone, is the dropped probability (i, j)
    given = torch.zeros_like(answer)
    given[:, :, 5] = 1
    (of_value,) = torch.autograd.grad(answer, value, given)
    assert torch.equal(of_value[..., 0], answer[:, :, 5])
    torch.manual_seed(torch_seed)
    assert draw(0.3) == chosen != draw(0.3)


def test_torch_computes_what_is_not_bf16_and_long_rows_of_which_nothing_is_dropped():
    module = nn.Module()
    module.is_causal = True
    for length, kind in ((LONG + 1, torch.bfloat16), (40, torch.float32)):
        query, key, value = (drawn(1, 1, length, 8, seed=seed, kind=kind) for seed in range(3))
        ours, theirs = (
            compute(module, query, key, value, None) for compute in (fused_attention, sdpa_attention_forward)
        )
        assert torch.equal(ours[0], theirs[0])
    for length, dropout in ((LONG, 0.0), (LONG + 1, 0.1)):
        query, key, value = (drawn(1, 1, length, 8, seed=seed) for seed in range(3))
        assert (
            type(fused_attention(module, query, key, value, None, dropout)[0].grad_fn).__name__ == "AttentionBackward"
        )


def test_the_gradient_of_dropped_scores_is_that_of_the_same_mask():
    scores = drawn(1, 2, 16, 16).detach()
    chosen = draw(0.4)
    probabilities = scores.clone()
    dropped = softmax.probabilities(probabilities, None, scale=1.0, causal=False, draw=chosen)
    factor = (dropped != 0).double() * chosen.kept
    exact = scores.double().requires_grad_()
    upwards = drawn(1, 2, 16, 16, seed=9).detach()
    (torch.softmax(exact, -1) * factor * upwards).sum().backward()
    ours = upwards.clone()
    again = softmax.gradients(probabilities, ours, scale=1.0, causal=False, draw=chosen)
    assert torch.equal(again, dropped)
    assert apart(ours, exact.grad) < CLOSE


@few
@given(rows=sizes, width=st.integers(8, 300), wide=st.booleans(), bias=st.booleans(), alone=st.booleans())
def test_the_norm_of_a_sum_is_that_of_torch(rows, width, wide, bias, alone):
    added = None if alone else drawn(rows, width, seed=1)
    residual = drawn(rows, width, seed=2, kind=torch.float32 if wide else torch.bfloat16)
    weight, shift = drawn(width, seed=3, kind=torch.float32), drawn(width, seed=4, kind=torch.float32)
    shift = shift if bias else None
    inputs = [each for each in (added, residual, weight, shift) if each is not None]
    answer = SumNorm.apply(added, residual, weight, shift, 1e-3, NOTHING_DROPPED)
    exact = [each.detach().double().requires_grad_() for each in inputs]
    total = exact[0] if alone else exact[0] + exact[1]
    expected = F.layer_norm(total, (width,), exact[-2 if bias else -1], exact[-1] if bias else None, 1e-3)
    assert answer.dtype is torch.bfloat16 and apart(answer, expected) < CLOSE
    upwards = torch.randn(rows, width)
    ours = torch.autograd.grad((answer.double() * upwards).sum(), inputs)
    theirs = torch.autograd.grad((expected * upwards).sum(), exact)
    size = max(each.norm().item() for each in theirs)
    for one, other, given_to in zip(ours, theirs, inputs, strict=True):
        assert one.dtype is given_to.dtype
        assert (one.double() - other).norm().item() <= CLOSE * size


def test_the_norm_of_a_dropped_sum_is_that_of_what_its_gradient_lets_through():
    added, residual, weight, shift = drawn(40, 99), drawn(40, 99, seed=1), torch.rand(99), torch.rand(99)
    chosen = draw(0.25)
    answer = SumNorm.apply(added, residual, weight, shift, 1e-5, chosen)
    of_added, of_residual = torch.autograd.grad(answer, (added, residual), torch.randn(40, 99).bfloat16())
    kept = of_added != 0
    assert abs(kept.float().mean().item() - 0.75) < 5 * math.sqrt(0.19 / kept.numel())
    assert apart(of_added, of_residual * kept * chosen.kept) < CLOSE
    expected = F.layer_norm(residual.double() + added.double() * kept / 0.75, (99,), weight.double(), shift.double())
    assert apart(answer, expected) < CLOSE


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_dropout_keeps_its_share_in_every_row_and_column_and_none_hangs_on_its_neighbour(kind):
    probability, rows, columns = 0.1, 4096, 1024
    ones = torch.ones(rows, columns, dtype=kind, requires_grad=True)
    answer = Dropped.apply(ones, Draw(key=12345, threshold=round(0.1 * 2**32), kept=1 / 0.9))
    kept = (answer != 0).double()
    assert apart(answer.max(), torch.tensor(1 / 0.9)) < 0.004
    assert torch.equal(torch.autograd.grad(answer, ones, torch.ones_like(ones))[0], answer)
    spread = math.sqrt(probability * (1 - probability))
    assert abs(kept.mean().item() - 0.9) < 5 * spread / math.sqrt(kept.numel())
    assert (kept.mean(0) - 0.9).abs().max().item() < 6 * spread / math.sqrt(rows)
    assert (kept.mean(1) - 0.9).abs().max().item() < 6 * spread / math.sqrt(columns)
    away = kept - 0.9
    for shifted in (away.roll(1, 0), away.roll(1, 1), away.roll(7, 0)):
        assert abs((away * shifted).mean().item()) < 5 * spread**2 / math.sqrt(kept.numel())
    other = (Dropped.apply(ones, Draw(key=12346, threshold=round(0.1 * 2**32), kept=1 / 0.9)) != 0).double() - 0.9
    assert abs((away * other).mean().item()) < 5 * spread**2 / math.sqrt(kept.numel())


def test_dropout_as_a_module_drops_in_training_alone_and_all_where_all_is_asked():
    module = FusedDropout(0.5)
    given = torch.ones(1000)
    assert 0 < (module(given) == 0).sum() < 1000
    assert module.eval()(given) is given
    assert FusedDropout(0.0)(given) is given
    assert not FusedDropout(1.0)(given).any()
    assert FusedDropout(0.5)(given.double()).dtype is torch.float64


@few
@given(numbers=st.lists(st.floats(-60, 60, width=16), min_size=1, max_size=99))
def test_gelu_is_its_tanh_form(numbers):
    given_ = torch.tensor(numbers).bfloat16().requires_grad_()
    exact = given_.detach().double().requires_grad_()
    answer, expected = Gelu.apply(given_), F.gelu(exact, approximate="tanh")
    torch.testing.assert_close(answer.double(), expected, rtol=0.004, atol=1e-6)
    (slope,) = torch.autograd.grad(answer.sum(), given_)
    (expected_slope,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=0.004, atol=1e-5)
    assert torch.equal(FusedGelu()(exact), expected)  # what is not bf16 goes to torch


def everything() -> list[torch.Tensor]:
    """What every kernel answers, for one set of inputs."""
    chosen = Draw(key=77, threshold=round(0.2 * 2**32), kept=1.25)
    scores, upwards = drawn(3, 2, 33, 47).detach().clone(), drawn(3, 2, 33, 47, seed=1).detach().clone()
    mask = torch.rand(3, 1, 1, 47, generator=torch.Generator().manual_seed(2)) < 0.7
    dropped = softmax.probabilities(scores, mask, scale=0.4, causal=False, draw=chosen)
    again = softmax.gradients(scores, upwards, scale=0.4, causal=False, draw=chosen)
    inputs = (drawn(501, 37), drawn(501, 37, seed=3), drawn(37, seed=4, kind=torch.float32))
    inputs = (*inputs, drawn(37, seed=5, kind=torch.float32))
    normed = SumNorm.apply(*inputs, 1e-5, chosen)
    long = drawn(5000, seed=6)
    bent, thinned = Gelu.apply(long), Dropped.apply(long, chosen)
    slopes = [*torch.autograd.grad(normed.sum(), inputs), *torch.autograd.grad(bent.sum() + thinned.sum(), long)]
    return [scores, dropped, upwards, again, normed, bent, thinned, *slopes]


def test_the_number_of_threads_changes_no_bit(threads):
    threads(1)
    alone = everything()
    for count in (2, 3):
        threads(count)
        assert all(torch.equal(one, other) for one, other in zip(alone, everything(), strict=True))


def test_what_is_no_number_stays_none():
    """The loop looks for it before it updates anything."""
    for bad in (math.nan, math.inf):
        scores = torch.zeros(1, 1, 2, 40).bfloat16()
        scores[0, 0, 0, 3] = bad
        answer = softmax.probabilities(scores, None, scale=1.0, causal=False, draw=NOTHING_DROPPED)
        assert answer[0, 0, 0].isnan().all() and torch.equal(answer[0, 0, 1], torch.full((40,), 1 / 40).bfloat16())
        upwards = torch.zeros(1, 1, 2, 40).bfloat16()
        upwards[0, 0, 1, 7] = bad
        softmax.gradients(torch.full_like(upwards, 0.02), upwards, scale=1.0, causal=False, draw=NOTHING_DROPPED)
        assert not upwards[0, 0, 1].isfinite().any() and upwards[0, 0, 0].isfinite().all()
        row = torch.ones(2, 40).bfloat16()
        row[0, 1] = bad
        assert SumNorm.apply(None, row, torch.ones(40), None, 1e-5, NOTHING_DROPPED)[0].isnan().all()
        assert not Dropped.apply(torch.full((9,), bad), Draw(key=1, threshold=1, kept=1.0)).isfinite().any()
    assert Gelu.apply(torch.tensor([math.nan]).bfloat16()).isnan().all()
