"""The last matrix and the loss in one: the numbers of the plain form, however it is cut, in little memory."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from runjob.runner.worker.kernels.cross_entropy import FusedHead
from runjob.runner.worker.kernels.cross_entropy import to_gradient_ as fused_to_gradient_
from runjob.runner.worker.models.causal_lm import MATRIX_HEADS, CausalLMObjective
from runjob.runner.worker.models.linear_loss import IGNORED, Losses, linear_loss, plain_loss, to_gradient_

pytestmark = pytest.mark.usefixtures("one_thread")

# 1,800 rows of 600 classes are two blocks of the softmax, and 600 is no multiple of 64
WIDTH, ROWS, CLASSES = 16, 1800, 600
CHUNKS = pytest.mark.parametrize("chunk_bytes", [2**27, 300 * CLASSES * 4], ids=["one chunk", "chunks"])
BIAS = pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])


def sample(*, bias: bool, rows: int = ROWS, classes: int = CLASSES) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    """Hidden rows, a head whose answers differ clearly, and targets of which every fifth is missing."""
    generator = torch.Generator().manual_seed(7)
    head = nn.Linear(WIDTH, classes, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    hidden = torch.randn(rows, WIDTH, generator=generator).requires_grad_()
    targets = torch.randint(classes // 2, (rows,), generator=generator)
    targets[::5] = IGNORED
    return hidden, head, targets


def gradients(losses: Losses, hidden: torch.Tensor, head: nn.Linear) -> list[torch.Tensor]:
    """Of the sum times a factor, as the engine has one."""
    return list(torch.autograd.grad(losses.sum * 0.125, [hidden, *head.parameters()]))


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.dtype == expected.dtype
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@CHUNKS
@BIAS
@pytest.mark.parametrize("classes", [None, CLASSES - 70], ids=["all classes", "the first classes"])
def test_loss_and_gradients_are_those_of_the_plain_form(chunk_bytes: int, bias: bool, classes: int | None) -> None:
    hidden, head, targets = sample(bias=bias)
    found = linear_loss(hidden, head, targets, classes=classes, chunk_bytes=chunk_bytes)
    expected = plain_loss(head(hidden)[:, :classes], targets)
    assert found.sum.dtype == torch.float64
    assert found.sum.item() == pytest.approx(expected.sum.item(), rel=1e-6)
    torch.testing.assert_close(found.each, expected.each, rtol=1e-5, atol=1e-5)
    assert not found.each.requires_grad
    pairs = zip(gradients(found, hidden, head), gradients(expected, hidden, head), strict=True)
    assert max(distance(one, other) for one, other in pairs) < 1e-6


@CHUNKS
@BIAS
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", ["autocast", "bf16 parameters"])
@pytest.mark.parametrize("fused", [False, True], ids=["torch", "kernel"])
def test_in_bf16_they_are_no_further_from_the_exact_ones_than_those_of_the_plain_form(
    chunk_bytes: int, bias: bool, kind: str, fused: bool
) -> None:
    hidden, head, targets = sample(bias=bias)
    exact = plain_loss(head(hidden), targets)
    exact_gradients = gradients(exact, hidden, head)
    if kind == "bf16 parameters":
        head = head.bfloat16()
        hidden = hidden.detach().bfloat16().requires_grad_()
    served = nn.Linear(1, 1, bias=bias)
    served.weight, served.bias = head.weight, head.bias
    served.__class__ = FusedHead if fused else nn.Linear
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        found, plain = linear_loss(hidden, served, targets, chunk_bytes=chunk_bytes), plain_loss(head(hidden), targets)
    assert found.sum.item() == pytest.approx(exact.sum.item(), rel=1e-3)
    ours, theirs = gradients(found, hidden, head), gradients(plain, hidden, head)
    for one, other, expected in zip(ours, theirs, exact_gradients, strict=True):
        assert one.dtype == other.dtype
        assert distance(one.float(), expected) < 1.2 * distance(other.float(), expected) + 1e-3


def test_fp16_keeps_the_plain_form_whose_gradient_the_loss_scale_reaches_in_time() -> None:
    hidden, head, targets = sample(bias=True)
    hidden, head = hidden.detach().half().requires_grad_(), head.half()
    scale = 2.0**10
    ours, theirs = linear_loss(hidden, head, targets).sum * scale, plain_loss(head(hidden), targets).sum * scale
    leaves = [hidden, *head.parameters()]
    pairs = zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_gradients_are_those_of_finite_differences_in_float64() -> None:
    hidden, head, targets = sample(bias=True, rows=7, classes=12)
    inputs = [each.detach().double().requires_grad_() for each in (hidden, head.weight, head.bias)]

    def loss(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        given = SimpleNamespace(weight=weight, bias=bias)
        return linear_loss(hidden, given, targets, classes=10, chunk_bytes=3 * 12 * 8).sum

    assert torch.autograd.gradcheck(loss, inputs)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5), chunk_rows=st.integers(1, 70))
def test_however_a_batch_is_cut_its_loss_and_gradient_stay(cuts: list[int], chunk_rows: int) -> None:
    hidden, head, targets = sample(bias=True, rows=60)
    whole = linear_loss(hidden, head, targets)
    bounds = [0, *sorted(cuts), 60]
    parts = [
        linear_loss(hidden[start:end], head, targets[start:end], chunk_bytes=chunk_rows * CLASSES * 4)
        for start, end in itertools.pairwise(bounds)
    ]
    total = torch.stack([part.sum for part in parts]).sum()
    assert total.item() == pytest.approx(whole.sum.item(), rel=1e-6)
    together = gradients(Losses(total, whole.each), hidden, head)
    pairs = zip(together, gradients(whole, hidden, head), strict=True)
    assert max(distance(one, other) for one, other in pairs) < 1e-6


@BIAS
def test_nothing_to_predict_is_a_loss_of_nothing_with_gradients_of_nothing(bias: bool) -> None:
    hidden, head, targets = sample(bias=bias, rows=4)
    losses = linear_loss(hidden, head, torch.full_like(targets, IGNORED))
    assert losses.sum.item() == 0
    assert losses.each.tolist() == [0, 0, 0, 0]
    assert all(not gradient.any() for gradient in gradients(losses, hidden, head))


@pytest.mark.usefixtures("kernels")
@BIAS
@pytest.mark.parametrize("rows", [1, 5, 37])
def test_the_kernel_gives_the_loss_and_the_gradient_of_torch_with_any_number_of_threads(bias: bool, rows: int) -> None:
    """600 classes in rows of 640 places: what stands behind a row's last class stays."""
    generator = torch.Generator().manual_seed(rows)
    logits = (torch.randn(rows, 640, generator=generator) * 4).bfloat16()
    targets = torch.randint(CLASSES, (rows,), generator=generator)
    targets[1::3] = IGNORED
    added = torch.randn(CLASSES, generator=generator) if bias else None
    exact = logits[:, :CLASSES].double() + (0 if added is None else added)
    leaf = exact.requires_grad_()
    plain = plain_loss(leaf, targets)
    plain.sum.backward()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        ours = logits.clone()
        each, bias_gradient = fused_to_gradient_(ours[:, :CLASSES], targets, added)
        found.append((ours, each, bias_gradient))
        torch.testing.assert_close(each, plain.each.float(), rtol=1e-5, atol=1e-5)
        assert distance(ours[:, :CLASSES].double(), leaf.grad) < 0.004
        assert torch.equal(ours[:, CLASSES:], logits[:, CLASSES:])
        assert not ours[1::3, :CLASSES].any()
        assert (bias_gradient is None) == (added is None)
        if bias_gradient is not None:
            torch.testing.assert_close(bias_gradient, ours[:, :CLASSES].float().sum(0), rtol=1e-5, atol=1e-6)
    for one, other in zip(*found, strict=True):
        assert one is other or torch.equal(one, other)


@pytest.mark.usefixtures("kernels")
def test_a_logit_that_is_no_number_is_a_loss_that_is_none_in_the_kernel_too() -> None:
    logits = torch.randn(3, 64).bfloat16()
    logits[1, 5] = torch.nan
    each, _ = fused_to_gradient_(logits, torch.tensor([0, 1, 2]), None)
    assert each.isnan().tolist() == [False, True, False]


def test_rows_that_are_computed_and_predict_nothing_count_for_nothing() -> None:
    """As on a GPU, where nobody waits to learn which they are."""
    logits = torch.randn(6, 5)
    targets = torch.tensor([0, IGNORED, 4, 2, IGNORED, 1])
    leaf = logits.clone().requires_grad_()
    plain = plain_loss(leaf, targets)
    plain.sum.backward()
    each, _ = to_gradient_(logits, targets, None)
    torch.testing.assert_close(each, plain.each)
    torch.testing.assert_close(logits, leaf.grad)


def test_a_head_that_is_frozen_and_a_row_that_is_not_learnt_from_get_no_gradient() -> None:
    hidden, head, targets = sample(bias=True)
    head.requires_grad_(False)
    linear_loss(hidden, head, targets).sum.backward()
    assert hidden.grad is not None
    assert head.weight.grad is None
    head.requires_grad_(True)
    linear_loss(hidden.detach(), head, targets).sum.backward()
    assert head.weight.grad is not None
    with torch.no_grad():
        assert not linear_loss(hidden, head, targets).sum.requires_grad


def test_scores_that_are_not_numbers_are_a_loss_that_is_none() -> None:
    hidden, head, targets = sample(bias=False)
    broken = hidden.detach().clone()
    broken[3, 2] = torch.nan
    assert linear_loss(broken, head, targets).sum.isnan()


SIZES = {
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
OWN_SIZES = {"gpt_neo": {"num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]}}
BENT = {"gemma2": {"final_logit_softcapping": 2.0, "head_dim": 8}, "cohere": {"logit_scale": 3.0}}


def build(family: str) -> PreTrainedModel:
    sizes = {**SIZES, **OWN_SIZES.get(family, {}), **BENT.get(family, {})}
    if family in OWN_SIZES:
        del sizes["num_hidden_layers"], sizes["num_attention_heads"]
    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(20)
    return network


@pytest.mark.parametrize("family", [*MATRIX_HEADS, *BENT])
def test_every_family_gives_the_loss_of_its_own_logits(family: str) -> None:
    """Those that bend or scale their logits too."""
    network = build(family)
    rows = torch.randint(90, (2, 13), generator=torch.Generator().manual_seed(0))
    answer = CausalLMObjective(network)(rows[:, :-1], rows[:, 1:])
    expected = plain_loss(network(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten()).sum
    assert answer.loss_sum.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (
        torch.autograd.grad(loss, network.get_input_embeddings().weight)[0] for loss in (answer[0], expected)
    )
    assert distance(ours, theirs) < 1e-6


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for tensor in answer if isinstance(answer, tuple | list) else (answer,):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.itemsize)
        return answer


def test_the_logits_are_never_there_at_once() -> None:
    hidden, head, targets = sample(bias=False)
    with Largest() as ours, torch.autocast("cpu", dtype=torch.bfloat16):
        linear_loss(hidden, head, targets, chunk_bytes=2**16).sum.backward()
    with Largest() as theirs, torch.autocast("cpu", dtype=torch.bfloat16):
        plain_loss(head(hidden), targets).sum.backward()
    assert ours.bytes <= 2 * 2**16  # a chunk in fp32
    assert theirs.bytes == ROWS * CLASSES * 4
