"""cross_entropy.cpp, called from torch: the loss of each row of logits, and in their place its gradient by them."""

import ctypes

import torch
from torch import nn

from runjob.runner.worker.kernels.build import library


class Logits(ctypes.Structure):
    """As Logits in cross_entropy.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "targets", "bias", "losses", "bias_gradient")),
        *((name, ctypes.c_int64) for name in ("rows", "classes", "stride", "threads")),
    )


class FusedHead(nn.Linear):
    """The last matrix of a network, whose loss the kernel computes (models/linear_loss.py)."""


def to_gradient_(
    logits_NC: torch.Tensor, targets_N: torch.Tensor, bias_C: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `linear_loss.to_gradient_`, of bf16 logits whose rows are runs of memory; `bias_C` in fp32. The gradient by
    the bias is the sum of the rounded ones, as it is under autocast."""
    assert logits_NC.dtype is torch.bfloat16 and logits_NC.stride(1) == 1 and targets_N.is_contiguous()
    losses_N = logits_NC.new_empty(len(logits_NC), dtype=torch.float32)
    bias_gradient_C = None if bias_C is None else torch.empty_like(bias_C)
    told = Logits(
        logits=logits_NC.data_ptr(),
        targets=targets_N.data_ptr(),
        bias=None if bias_C is None else bias_C.data_ptr(),
        losses=losses_N.data_ptr(),
        bias_gradient=None if bias_gradient_C is None else bias_gradient_C.data_ptr(),
        rows=logits_NC.shape[0],
        classes=logits_NC.shape[1],
        stride=logits_NC.stride(0),
        threads=torch.get_num_threads(),
    )
    library().cross_entropy(ctypes.byref(told))
    return losses_N, bias_gradient_C
