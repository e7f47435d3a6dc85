"""A GPU's operations, computed on a processor: the same tensors are kept for the way back, of the same types and sizes.

Three things differ between the devices in what torch keeps (torch 2.13): a dropout keeps one byte a value on a GPU, and
a mask of the values' own type on a processor; under autocast norms and softmax answer in fp32 on a GPU alone; attention
has a kernel there that keeps its answer and one number a query, with dropout too, where a processor writes out all
probabilities. What a GPU's kernels take for a moment, and its allocator's rounding, are not here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

Function = Callable[..., torch.Tensor]


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """In here torch's functions are those."""
    own = {name: getattr(F, name) for name in ("dropout", "layer_norm", "softmax", "scaled_dot_product_attention")}
    attend = own["scaled_dot_product_attention"]

    def attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **more: Any,  # noqa: ANN401 - whatever else torch takes
    ) -> torch.Tensor:
        """Without dropout torch has such a kernel on a processor too; a GPU's keeps a seed besides."""
        answer: torch.Tensor = attend(query, key, value, attn_mask, 0.0, is_causal, **more)
        return answer

    theirs = {
        "dropout": _dropout,
        "layer_norm": _in_fp32(own["layer_norm"]),
        "softmax": _in_fp32(own["softmax"]),
        "scaled_dot_product_attention": attention,
    }
    _put(theirs)
    try:
        yield
    finally:
        _put(own)


def _put(functions: dict[str, Function]) -> None:
    for name, function in functions.items():
        setattr(F, name, function)


def _in_fp32(function: Function) -> Function:
    def wide(input: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:  # noqa: ANN401
        narrow = torch.is_autocast_enabled("cpu") and input.dtype in (torch.bfloat16, torch.float16)
        return function(input.float() if narrow else input, *others, **more)

    return wide


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    return torch.native_dropout(input, p, True)[0] if training and p else input
