"""The last matrix of a network and the cross-entropy behind it, as one function that never holds all logits.

    hidden (N, H) -> of some rows at a time: logits (n, C) -> in their place the gradient of the loss by them
                                                                -> added up: gradients of hidden, weight and bias

Of 8 x 1024 tokens over 50,257 classes the logits are 0.8 GB in bf16, and 1.6 GB each time that a plain cross-entropy
writes something of their size in fp32. Nothing stands behind the loss but a factor (the step's count, a loss scale), so
its gradient is taken at once, while a chunk of logits is there, and the backward pass only multiplies by the factor.

Legend: N rows, each with a class to be predicted; n of them in a chunk; H width; V rows of the weight, of which the
first C are classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from runjob.runner.worker.kernels import cross_entropy
from runjob.runner.worker.models.kept_gradient import KeptGradient, kept_gradient

IGNORED = -100  # the label of a row that predicts nothing

# Chunks as large as memory allows: each one more reads and writes the whole gradient of the weight once more
CHUNK_BYTES = 256 * 2**20
# What the softmax works on at a time, in fp32: as much as stays in a processor's cache; a GPU wants more at once
BLOCK_BYTES = 4 * 2**20
BLOCK_BYTES_GPU = 64 * 2**20
# Where a processor or a GPU multiplies tiles of bf16, 50,257 classes take 1.28 times as long as 50,304; elsewhere it
# costs nothing
ROUND_CLASSES = 64


class Losses(NamedTuple):
    sum: torch.Tensor  # float64, nats of all rows; what the gradient is of
    each: torch.Tensor  # (N), fp32, 0 where nothing is predicted; without a gradient


def linear_loss(
    hidden_NH: torch.Tensor,
    head: nn.Linear,
    targets_N: torch.Tensor,
    *,
    classes: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Losses:
    """Cross-entropy of `head(hidden_NH)` with `targets_N`, over the head's first `classes` rows (None: all)."""
    dtype = computed_in(hidden_NH)
    # ZeRO 3 brings the weight where the module is called and nowhere else; in fp16 a gradient that no loss scale has
    # multiplied yet is too small for its range; a compiler joins the plain form's operations by itself
    if hasattr(head.weight, "ds_id") or dtype == torch.float16 or torch.compiler.is_compiling():
        return plain_loss(head(hidden_NH)[:, :classes], targets_N)
    # A row without a label costs nothing; on a GPU asking for them would wait for all that is queued, so they are
    # computed there, and count for nothing
    some = hidden_NH.device.type == "cpu" and bool((targets_N == IGNORED).any())
    counted = targets_N != IGNORED if some else slice(None)
    classes = len(head.weight) if classes is None else classes
    with torch.autocast(hidden_NH.device.type, enabled=False):
        cut = Cut(
            classes=classes,
            dtype=dtype,
            chunk_bytes=chunk_bytes,
            learns=torch.is_grad_enabled(),
            fused=isinstance(head, cross_entropy.FusedHead) and dtype is torch.bfloat16,
            kept=kept_gradient(head),
        )
        total, each = _LinearLoss.apply(  # type: ignore[no-untyped-call]
            hidden_NH[counted], head.weight, head.bias, targets_N[counted], cut
        )
    return Losses(total, each.new_zeros(len(targets_N)).masked_scatter_(counted, each) if some else each)


def plain_loss(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> Losses:
    """The same of logits that are there."""
    # fp32 before the softmax: in bf16 a loss of 3 is known to 0.016, and the sum of a row not at all
    each_N = F.cross_entropy(logits_NV.float(), targets_N, ignore_index=IGNORED, reduction="none")
    return Losses(_sum(each_N), each_N.detach())


def computed_in(hidden: torch.Tensor) -> torch.dtype:
    """What a linear layer computes in here."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def to_gradient_(
    logits_NC: torch.Tensor, targets_N: torch.Tensor, bias_C: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Put the gradient of the summed cross-entropy by the logits in their place, the bias added to them first; each
    row's loss, and the gradient by the bias. Computed in fp32, whatever is read and written."""
    wide = torch.promote_types(logits_NC.dtype, torch.float32)
    losses_N = logits_NC.new_empty(len(logits_NC), dtype=wide)
    bias_gradient_C = None if bias_C is None else torch.zeros_like(bias_C, dtype=wide)
    limit = BLOCK_BYTES if logits_NC.device.type == "cpu" else BLOCK_BYTES_GPU
    for rows in _pieces(len(logits_NC), bytes_each=logits_NC.shape[1] * wide.itemsize, limit=limit):
        block_nC, counted_n = logits_NC[rows], (targets_N[rows] != IGNORED).to(wide)
        targets_n = targets_N[rows].clamp(min=0)
        scores_nC = block_nC.to(wide)
        if bias_C is not None:
            scores_nC += bias_C
        scores_nC -= scores_nC.amax(1, keepdim=True)
        told_n = scores_nC.gather(1, targets_n[:, None])[:, 0]
        total_n = scores_nC.exp_().sum(1)
        losses_N[rows] = (total_n.log() - told_n) * counted_n
        scores_nC *= (counted_n / total_n)[:, None]
        scores_nC[torch.arange(len(targets_n), device=targets_n.device), targets_n] -= counted_n
        if bias_gradient_C is not None:
            bias_gradient_C += scores_nC.sum(0)
        if block_nC is not scores_nC:
            block_nC.copy_(scores_nC)
    return losses_N, bias_gradient_C


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How it is computed. `learns`: whether anybody will ask for a gradient; `fused`: by the kernel; `kept`: who is
    given the weight's gradient in autograd's place."""

    classes: int
    dtype: torch.dtype
    chunk_bytes: int
    learns: bool
    fused: bool
    kept: KeptGradient | None


class _LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        cut: Cut,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        classes, dtype = cut.classes, cut.dtype
        wide = torch.promote_types(dtype, torch.float32)
        rows_NH, matrix_CH = hidden_NH.to(dtype), _operand(weight_VH, classes, dtype)
        bias_C = None if bias_V is None else bias_V[:classes].to(wide)
        each_N = hidden_NH.new_empty(len(hidden_NH), dtype=wide)
        by_hidden_NH, by_weight_CH, by_bias_C = torch.empty_like(rows_NH), None, None
        to_gradient = cross_entropy.to_gradient_ if cut.fused else to_gradient_
        for rows in _pieces(len(rows_NH), bytes_each=len(matrix_CH) * dtype.itemsize, limit=cut.chunk_bytes):
            logits_nC = rows_NH[rows] @ matrix_CH.T
            each_N[rows], bias_gradient_C = to_gradient(logits_nC[:, :classes], targets_N[rows], bias_C)
            if not cut.learns:
                continue
            torch.mm(logits_nC, matrix_CH, out=by_hidden_NH[rows])
            by_weight_CH = _plus_product(by_weight_CH, logits_nC.T, rows_NH[rows])
            if bias_gradient_C is not None:
                by_bias_C = bias_gradient_C if by_bias_C is None else by_bias_C.add_(bias_gradient_C)
        ctx.save_for_backward(by_hidden_NH, by_weight_CH, by_bias_C, weight_VH, bias_V)
        ctx.hidden_dtype, ctx.cut = hidden_NH.dtype, cut
        ctx.mark_non_differentiable(each_N)
        return _sum(each_N), each_N

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        factor: torch.Tensor,
        _: torch.Tensor,
    ) -> tuple[torch.Tensor | None, ...]:
        by_hidden_NH, by_weight_CH, by_bias_C, weight_VH, bias_V = ctx.saved_tensors
        hidden = by_hidden_NH.to(ctx.hidden_dtype) * factor if ctx.needs_input_grad[0] else None
        bias = _like(bias_V, by_bias_C, ctx.cut.classes, factor) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[1] or ctx.cut.kept is None:
            weight = _like(weight_VH, by_weight_CH, ctx.cut.classes, factor) if ctx.needs_input_grad[1] else None
            return hidden, weight, bias, None, None
        ctx.cut.kept.add(None if by_weight_CH is None else by_weight_CH[: ctx.cut.classes], factor)
        return hidden, None, bias, None, None


def _pieces(rows: int, *, bytes_each: int, limit: int) -> Iterator[slice]:
    """As few as the limit allows, and of the same size."""
    count = -(-rows // max(limit // bytes_each, 1))
    size = -(-rows // max(count, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, max(size, 1)))


def _operand(weight_VH: torch.Tensor, classes: int, dtype: torch.dtype) -> torch.Tensor:
    """The rows of the classes in `dtype`; in 16 bits filled up with rows of zeros, whose logits nobody reads."""
    missing = -classes % ROUND_CLASSES if dtype.itemsize == 2 else 0
    if not missing:
        return weight_VH[:classes].to(dtype)
    matrix = weight_VH.new_empty(classes + missing, weight_VH.shape[1], dtype=dtype)
    matrix[:classes] = weight_VH[:classes]
    matrix[classes:] = 0
    return matrix


def _plus_product(total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A first product stays as it comes; sums of several are kept in fp32."""
    if total is None:
        return left @ right
    if total.dtype == left.dtype and left.dtype.itemsize > 2:
        return total.addmm_(left, right)
    return total.to(torch.promote_types(left.dtype, torch.float32)).add_(left @ right)


def _like(parameter: torch.Tensor, gradient_C: torch.Tensor | None, classes: int, factor: torch.Tensor) -> torch.Tensor:
    """The gradient of the whole parameter, of which the first `classes` rows have been used."""
    if gradient_C is None:  # no row at all
        return torch.zeros_like(parameter)
    wide_C = gradient_C[:classes].to(torch.promote_types(gradient_C.dtype, torch.float32))
    # In place where that is a copy: memory that is asked for anew costs as much as the product
    scaled_C = wide_C.mul_(factor) if wide_C.dtype != gradient_C.dtype else wide_C * factor
    scaled_C = scaled_C.to(parameter.dtype)
    if classes == len(parameter):
        return scaled_C
    whole = torch.zeros_like(parameter)
    whole[:classes] = scaled_C
    return whole


def _sum(each_N: torch.Tensor) -> torch.Tensor:
    # In float64: however a global batch is cut into micro batches, the sum is the same to 1e-12
    return each_N.sum(dtype=torch.float64)
