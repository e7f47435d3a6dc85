"""Attention inside documents alone, for packed rows: what a network is called with so that each document of a row is
computed as if it stood in a row by itself.

    position_ids  0 1 2 0 1 0 0      a 0 begins a document; a filled-up position is one by itself
    documents     1 1 1 2 2 3 4
    mask          i sees j where both are of one document (and j <= i in a decoder)

Families differ in three things: where positions come from, how a mask is given, what else looks at distances.

- gpt2: learnt positions, counted from 0. Causal.
- bert: the same, both ways.
- modernbert: rotary positions, which see distances only; its local layers have a window of their own besides.
- mpnet: learnt positions, counted from 2 (fairseq's habit: 1 is the padding's). Its relative bias is one of distances,
  which inside a document are the same in any row. Its attention adds the mask to the scores, so it is no boolean one.

A mask costs B x L x L of memory and the fused kernel still visits the pairs that it hides: right everywhere, fast where
rows are short. Kernels for ragged rows exist on CUDA only and are not used.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from runjob.schemas.errors import JobError

FIRST_POSITION = {"gpt2": 0, "bert": 0, "modernbert": 0, "mpnet": 2}


def check_documents_apart(network: PreTrainedModel) -> None:
    """JobError where the family's attention can't be told where documents begin."""
    family = network.config.model_type
    if family not in FIRST_POSITION:
        raise JobError(
            f"data.attention: document is possible for {', '.join(FIRST_POSITION)}, not for a network of the family "
            f"{family}; write `attention: row`, or `layout: lines`, where a row is one document"
        )


def seen_by(
    network: PreTrainedModel, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None
) -> dict[str, Any]:
    """What a forward pass takes besides the tokens: the mask of padding, or (with positions that count from 0 in each
    document) everything that keeps the documents of a row apart."""
    if position_ids is None:
        return {"attention_mask": attention_mask}
    return documents_apart(network, position_ids)


def documents_apart(network: PreTrainedModel, position_ids_BL: torch.Tensor) -> dict[str, Any]:
    """`attention_mask` and `position_ids` for a forward pass of `network` (or of its body) over rows whose tokens have
    these places in their documents."""
    config = network.config
    documents_BL = (position_ids_BL == 0).cumsum(1)
    mask_BLL = documents_BL[:, :, None] == documents_BL[:, None, :]
    places_L = torch.arange(position_ids_BL.shape[1], device=position_ids_BL.device)
    distance_LL = places_L[:, None] - places_L[None, :]
    if config.model_type == "gpt2":
        mask_BLL = mask_BLL & (distance_LL >= 0)
    masks: Any = _as_given(network, mask_BLL)
    if config.model_type == "modernbert":
        near_BLL = mask_BLL & (distance_LL.abs() <= config.sliding_window)
        masks = {"full_attention": masks, "sliding_attention": _as_given(network, near_BLL)}
    return {"attention_mask": masks, "position_ids": position_ids_BL + FIRST_POSITION[config.model_type]}


def _as_given(network: PreTrainedModel, mask_BLL: torch.Tensor) -> torch.Tensor:
    """One mask for all heads: booleans for the fused kernel, numbers to be added where the scores are computed."""
    mask_B1LL = mask_BLL[:, None]
    if network.config._attn_implementation != "eager":
        return mask_B1LL
    hidden = torch.finfo(network.dtype).min
    return torch.zeros_like(mask_B1LL, dtype=network.dtype).masked_fill(~mask_B1LL, hidden)
