"""Attention whose softmax, mask and dropout are one kernel between two matrix products: torch's own fused attention is
several times slower on a processor in bf16, at the row lengths that small models are trained with. Stored for the way
back are the probabilities and no mask of dropout.

Legend: B rows, H heads, Q queries and K keys (or L of both), D width of a head.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from runjob.runner.worker.kernels import softmax
from runjob.runner.worker.kernels.draw import Draw, draw

# The name under which transformers knows it, and the `start` event
NAME = "fused"
# Keys beyond which torch's kernel takes over where nothing is dropped: it stores no probabilities, and here they are
# B x H x Q x K of bf16 in every layer. With dropout it writes out all of them, several times.
LONG = 512


class Attention(torch.autograd.Function):
    """(B, Q, H, D) of queries, keys and values that are (B, H, L, D); `bias` is a mask that may ask for a gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query_BHQD: torch.Tensor,
        key_BHKD: torch.Tensor,
        value_BHKD: torch.Tensor,
        bias: torch.Tensor | None,
        scale: float,
        causal: bool,
        drawn: Draw,
    ) -> torch.Tensor:
        query, key, value = (_one_matrix_a_head(each) for each in (query_BHQD, key_BHKD, value_BHKD))
        scores = torch.bmm(query, key.transpose(1, 2)).view(*query_BHQD.shape[:3], -1)
        dropped = softmax.probabilities(scores, bias, scale=scale, causal=causal, draw=drawn)
        answer = torch.bmm(dropped.flatten(0, 1), value)
        ctx.save_for_backward(query, key, value, scores)
        ctx.scale, ctx.causal, ctx.drawn, ctx.bias = scale, causal, drawn, _shape_and_type(bias)
        return answer.view(query_BHQD.shape).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BQHD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        query, key, value, probabilities = ctx.saved_tensors
        batches, heads = probabilities.shape[:2]
        asked = ctx.needs_input_grad[3]
        given = _one_matrix_a_head(gradient_BQHD.transpose(1, 2))
        scores_gradient = torch.bmm(given, value.transpose(1, 2)).view_as(probabilities)
        # a bias is added after the scale
        inner = 1.0 if asked else ctx.scale
        dropped = softmax.gradients(probabilities, scores_gradient, scale=inner, causal=ctx.causal, draw=ctx.drawn)
        of_scores = scores_gradient.flatten(0, 1)
        of_value = torch.bmm(dropped.flatten(0, 1).transpose(1, 2), given)
        of_query, of_key = torch.bmm(of_scores, key), torch.bmm(of_scores.transpose(1, 2), query)
        if asked:
            of_query, of_key = of_query * ctx.scale, of_key * ctx.scale
        by_heads = (each.view(batches, heads, *each.shape[1:]) for each in (of_query, of_key, of_value))
        of_bias = _summed_to(scores_gradient, *ctx.bias) if asked else None
        return *by_heads, of_bias, None, None, None


def _one_matrix_a_head(each_BHLD: torch.Tensor) -> torch.Tensor:
    return each_BHLD.reshape(-1, *each_BHLD.shape[2:])


def _shape_and_type(bias: torch.Tensor | None) -> tuple[torch.Size, torch.dtype] | None:
    return None if bias is None else (bias.shape, bias.dtype)


def _summed_to(gradient: torch.Tensor, shape: torch.Size, kind: torch.dtype) -> torch.Tensor:
    return gradient.to(torch.float32).sum_to_size(shape).to(kind) if gradient.shape != shape else gradient.to(kind)


def fused_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,  # noqa: ANN401 - whatever transformers passes to an attention
) -> tuple[torch.Tensor, None]:
    """As transformers calls it. What is not bf16 (a sample, an export), and long rows without dropout, go to torch."""
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
    causal = causal and attention_mask is None and query.shape[2] > 1
    queries, keys = query.shape[2], key.shape[2]
    if not served(query, key, value) or (causal and queries != keys) or (dropout == 0.0 and keys > LONG):
        answer: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        return answer
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return Attention.apply(query, key, value, attention_mask, scale, causal, draw(dropout)), None  # type: ignore[no-untyped-call]


def served(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    return all(each.dtype is torch.bfloat16 for each in (query, key, value)) and query.shape[1] == key.shape[1]
