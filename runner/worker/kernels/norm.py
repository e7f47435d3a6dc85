"""norm.cpp, called from torch: layer norm of `residual + dropout(added)` in one pass, answering in bf16.

Autocast would answer in fp32 wherever the residual is, and every matrix product that reads the answer would round it to
bf16 again. A norm whose readers are matrix products (`NarrowNorm`, before the blocks of GPT-2 and ModernBERT) so gives
the same numbers with fewer passes. Where the norm stands after the sum (`ResidualNorm`, BERT and its kin) its answer is
the residual of the next sum too, which is then of bf16, as wherever parameters are; the norm keeps it O(1).
"""

import ctypes
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from runjob.runner.worker.kernels.build import library
from runjob.runner.worker.kernels.draw import NOTHING_DROPPED, Draw, draw


class Rows(ctypes.Structure):
    """As NormRows in norm.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("added", "residual", "weight", "bias", "out", "mean", "reciprocal")),
        *((name, ctypes.c_void_p) for name in ("gradient", "added_gradient", "residual_gradient")),
        *((name, ctypes.c_void_p) for name in ("weight_gradient", "bias_gradient")),
        *((name, ctypes.c_int64) for name in ("rows", "width", "wide", "threads")),
        ("key", ctypes.c_uint64),
        ("threshold", ctypes.c_uint32),
        ("kept", ctypes.c_float),
        ("epsilon", ctypes.c_float),
    )


class SumNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        added: torch.Tensor | None,
        residual: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        epsilon: float,
        drawn: Draw,
    ) -> torch.Tensor:
        residual = residual.contiguous()
        added = None if added is None else added.contiguous()
        answer = torch.empty_like(residual, dtype=torch.bfloat16)
        rows = _rows(added, residual, weight, bias, epsilon, drawn)
        mean, reciprocal = torch.empty(rows.rows), torch.empty(rows.rows)
        rows.out, rows.mean, rows.reciprocal = answer.data_ptr(), mean.data_ptr(), reciprocal.data_ptr()
        library().norm_forward(ctypes.byref(rows))
        ctx.save_for_backward(added, residual, weight, bias, mean, reciprocal)
        ctx.epsilon, ctx.drawn = epsilon, drawn
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        added, residual, weight, bias, mean, reciprocal = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = _rows(added, residual, weight, bias, ctx.epsilon, ctx.drawn)
        rows.mean, rows.reciprocal, rows.gradient = mean.data_ptr(), reciprocal.data_ptr(), gradient.data_ptr()
        of_added = None if added is None else torch.empty_like(added)
        of_residual, of_weight = torch.empty_like(residual), torch.zeros_like(weight)
        of_bias = None if bias is None else torch.zeros_like(bias)
        rows.added_gradient = None if of_added is None else of_added.data_ptr()
        rows.residual_gradient, rows.weight_gradient = of_residual.data_ptr(), of_weight.data_ptr()
        rows.bias_gradient = None if of_bias is None else of_bias.data_ptr()
        library().norm_backward(ctypes.byref(rows))
        return of_added, of_residual, of_weight, of_bias, None, None


def _rows(
    added: torch.Tensor | None,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    epsilon: float,
    drawn: Draw,
) -> Rows:
    # the kernel reads what stands there as these types, whatever it is
    assert weight.dtype is torch.float32 and residual.dtype in (torch.float32, torch.bfloat16)
    assert added is None or (added.dtype is torch.bfloat16 and added.shape == residual.shape)
    width = weight.shape[0]
    return Rows(
        added=None if added is None else added.data_ptr(),
        residual=residual.data_ptr(),
        weight=weight.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        rows=residual.numel() // width,
        width=width,
        wide=residual.dtype is torch.float32,
        threads=torch.get_num_threads(),
        key=drawn.key,
        threshold=drawn.threshold,
        kept=drawn.kept,
        epsilon=epsilon,
    )


class ResidualNorm(nn.LayerNorm):
    """The norm after a sum. Added in fp32 (nobody casts automatically), it is torch's."""

    def forward(  # type: ignore[override]
        self, added: torch.Tensor, residual: torch.Tensor, probability: float
    ) -> torch.Tensor:
        if added.dtype is not torch.bfloat16:
            return super().forward(F.dropout(added, probability) + residual)
        drawn = draw(probability)
        answer: torch.Tensor = SumNorm.apply(added, residual, self.weight, self.bias, self.eps, drawn)  # type: ignore[no-untyped-call]
        return answer


class NarrowNorm(nn.LayerNorm):
    """The norm before matrix products. Where nobody casts automatically it is torch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        answer: torch.Tensor = SumNorm.apply(None, input, self.weight, self.bias, self.eps, NOTHING_DROPPED)  # type: ignore[no-untyped-call]
        return answer


class ResidualOutput(nn.Module):
    """The end of half a block in BERT and its kin: `dense`, `dropout`, and the norm of the sum."""

    dense: nn.Linear
    dropout: nn.Dropout
    LayerNorm: ResidualNorm

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        probability = self.dropout.p if self.training else 0.0
        answer: torch.Tensor = self.LayerNorm(self.dense(hidden_states), input_tensor, probability)
        return answer
