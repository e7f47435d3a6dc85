"""softmax.cpp, called from torch: scores become probabilities in place, and dropped ones beside them."""

import ctypes

import torch

from runjob.runner.worker.kernels.build import library
from runjob.runner.worker.kernels.draw import Draw

# As MaskKind in softmax.cpp
KINDS = {torch.bool: 1, torch.float32: 2, torch.bfloat16: 3}


class Rows(ctypes.Structure):
    """As Rows in softmax.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("scores", "dropped", "gradient", "mask")),
        *((name, ctypes.c_int64) for name in ("mask_kind", "mask_batch", "mask_head", "mask_query")),
        *((name, ctypes.c_int64) for name in ("batches", "heads", "queries", "keys", "causal", "threads")),
        ("key", ctypes.c_uint64),
        ("threshold", ctypes.c_uint32),
        ("kept", ctypes.c_float),
        ("scale", ctypes.c_float),
    )


def probabilities(
    scores_BHQK: torch.Tensor, mask: torch.Tensor | None, *, scale: float, causal: bool, draw: Draw
) -> torch.Tensor:
    """`scores_BHQK` (contiguous, bf16) become probabilities; the answer is those after dropout. `mask`: booleans, true
    where something is seen, or numbers to be added; of any shape that expands to the scores'."""
    rows = _rows(scores_BHQK, scale=scale, causal=causal, draw=draw)
    if mask is not None:
        mask = _by_rows(mask.expand(scores_BHQK.shape))
        rows.mask, rows.mask_kind = mask.data_ptr(), KINDS[mask.dtype]
        rows.mask_batch, rows.mask_head, rows.mask_query, _ = mask.stride()
    dropped = torch.empty_like(scores_BHQK) if draw.threshold else scores_BHQK
    rows.dropped = dropped.data_ptr()
    library().softmax_forward(ctypes.byref(rows))
    return dropped


def gradients(
    probabilities_BHQK: torch.Tensor, gradient_BHQK: torch.Tensor, *, scale: float, causal: bool, draw: Draw
) -> torch.Tensor:
    """`gradient_BHQK`, of the dropped probabilities, becomes that of the scores; the answer is the former again."""
    rows = _rows(probabilities_BHQK, scale=scale, causal=causal, draw=draw)
    dropped = torch.empty_like(probabilities_BHQK) if draw.threshold else probabilities_BHQK
    rows.dropped, rows.gradient = dropped.data_ptr(), gradient_BHQK.data_ptr()
    library().softmax_backward(ctypes.byref(rows))
    return dropped


def _rows(scores: torch.Tensor, *, scale: float, causal: bool, draw: Draw) -> Rows:
    assert scores.is_contiguous() and scores.dtype is torch.bfloat16
    batches, heads, queries, keys = scores.shape
    return Rows(
        scores=scores.data_ptr(),
        batches=batches,
        heads=heads,
        queries=queries,
        keys=keys,
        causal=causal,
        threads=torch.get_num_threads(),
        key=draw.key,
        threshold=draw.threshold,
        kept=draw.kept,
        scale=scale,
    )


def _by_rows(mask: torch.Tensor) -> torch.Tensor:
    """The kernel walks along the keys; a mask that is the same for all of them has no such row yet."""
    return mask if mask.stride(-1) == 1 or mask.shape[-1] == 1 else mask.contiguous()
