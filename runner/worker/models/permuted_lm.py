"""What the loop trains for `objective: plm`: MPNet's two streams (Song et al. 2020, section 2.3, figure 2) in one pass
over the layers of transformers' own MPNetForMaskedLM, so that what is trained is what transformers loads.

    content   L rows   the text itself, where it stands; hidden tokens are there as they are
    masks     P rows   what stands in for the hidden tokens (mask, another token, or themselves), in their order
    queries   P rows   the same again; the head reads these rows, and no row ever looks at them

Of a row that hides its tokens in the order 0, 1, .. each content token of order i has looked at the true tokens 0 .. i
and at the masks i+1 .., query i at the true tokens 0 .. i-1 and at the masks i .. ; a visible token and a mask at all
masks and at no hidden token. So each prediction sees as many places as the finished model will (the paper's position
compensation), and with one hidden token it is masked language modelling.

Rows know their place by position embeddings and by the bias of distances, so the text need not be permuted: in the
paper the visible tokens are too, but each of them sees all others and its own place is given, so nothing changes. Rows
that hide fewer tokens than others of the micro batch are filled up, and nothing sees the filling; where documents of
packed rows are kept apart (`data.attention: document`), a row sees what is of its own document.

Legend: B rows of L tokens, P hidden ones in the row that has most, R = L + 2 P, N hidden ones in all; H width, V
tokens.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import MPNetForMaskedLM, PreTrainedModel

from runjob.runner.worker.models.canine_ordered import Places, ordered_places
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.linear_loss import IGNORED, linear_loss
from runjob.runner.worker.models.masked_lm import HEADS
from runjob.schemas.errors import JobError
from runjob.schemas.tokenizer_files import MPNET_PADDING


def check_streams(network: PreTrainedModel) -> None:
    """JobError for a network of another family."""
    if network.config.model_type != "mpnet":
        raise JobError(
            f"model.init.path: objective plm is computed by MPNet's two streams, not by {network.config.model_type}; "
            "write `kind: mlm`, or name an mpnet"
        )


class PermutedLMObjective(nn.Module):
    """`labels` are the hidden tokens at their places, -100 elsewhere; `order` counts them from 0 as they are predicted,
    -1 elsewhere. Of the network's ids the first `vocabulary` are predicted (None: all). `recompute`: activations of a
    layer are computed again in the backward pass. Parameter names are `network.` plus those of transformers."""

    def __init__(self, network: PreTrainedModel, *, vocabulary: int | None = None, recompute: bool = False) -> None:
        super().__init__()
        assert isinstance(network, MPNetForMaskedLM)
        self.network = network
        self.vocabulary = vocabulary
        self.recompute = recompute

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        order: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        watched: torch.Tensor | None = None,
    ) -> Answer:
        """With `position_ids` (from 0 in each document) the documents of a row are kept apart; `watched`: of which
        labels an evaluation wants the loss by itself."""
        places = ordered_places(order)
        hidden_BRH = self.hidden(input_ids, labels, order, attention_mask, position_ids)
        queries_BPH = hidden_BRH[:, -places.columns.shape[1] :]
        answer_NH = HEADS["mpnet"](self.network, queries_BPH[places.present])
        targets_N = labels.gather(1, places.columns)[places.present]
        losses = linear_loss(answer_NH, self.network.get_output_embeddings(), targets_N, classes=self.vocabulary)
        seen = None if watched is None else watched.gather(1, places.columns)[places.present]
        watched_sum = None if seen is None else losses.each[seen].sum(dtype=torch.float64)
        return Answer(losses.sum, places.present.sum(), watched_sum)

    def hidden(
        self,
        input_ids_BL: torch.Tensor,
        labels_BL: torch.Tensor,
        order_BL: torch.Tensor,
        attention_mask_BL: torch.Tensor | None = None,
        position_ids_BL: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last layer of all R rows: content, masks, queries."""
        places = ordered_places(order_BL)
        text_BL = torch.where(labels_BL == IGNORED, input_ids_BL, labels_BL)
        ids_BR = _rows(text_BL, input_ids_BL, places)
        at_BL = torch.arange(text_BL.shape[1], device=text_BL.device).expand_as(text_BL)
        at_BL = at_BL if position_ids_BL is None else position_ids_BL
        at_BR = _rows(at_BL, at_BL, places)
        seen_BRR = visible(order_BL, places, attention_mask_BL)
        if position_ids_BL is not None:
            documents_BL = (position_ids_BL == 0).cumsum(1)
            documents_BR = _rows(documents_BL, documents_BL, places)
            seen_BRR = seen_BRR & (documents_BR[:, :, None] == documents_BR[:, None, :])
        body = self.network.mpnet
        hidden_BRH: torch.Tensor = body.embeddings(input_ids=ids_BR, position_ids=at_BR + MPNET_PADDING + 1)
        # one tensor for what is seen and for distances, the same in all layers
        bias = _distances(body.encoder, at_BR)
        bias = bias.masked_fill(~seen_BRR[:, None], torch.finfo(bias.dtype).min)
        for layer in body.encoder.layer:
            hidden_BRH = self._pass(layer, hidden_BRH, bias)
        return hidden_BRH

    def _pass(self, layer: Any, hidden_BRH: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        if self.recompute and self.training:
            return checkpoint(layer, hidden_BRH, None, bias, use_reentrant=False)[0]  # type: ignore[no-any-return]
        return layer(hidden_BRH, None, bias)[0]  # type: ignore[no-any-return]


def _rows(content_BL: torch.Tensor, masks_BL: torch.Tensor, places: Places) -> torch.Tensor:
    """Content, masks, queries, one after another."""
    masks_BP = masks_BL.gather(1, places.columns)
    return torch.cat([content_BL, masks_BP, masks_BP], dim=1)


def visible(order_BL: torch.Tensor, places: Places, attention_mask_BL: torch.Tensor | None) -> torch.Tensor:
    """(B, R, R): which rows look at which. Each row has looked at so many hidden tokens, the first ones, and at the
    masks of the others."""
    present_BP = places.present
    ranks_BP = torch.arange(present_BP.shape[1], device=order_BL.device).expand_as(present_BP)
    known_BR = torch.cat([order_BL + 1, torch.zeros_like(ranks_BP), ranks_BP], dim=1)[:, :, None]
    content_BRL = order_BL[:, None, :] < known_BR
    if attention_mask_BL is not None:
        content_BRL = content_BRL & (attention_mask_BL[:, None, :] > 0)
    masks_BRP = (ranks_BP[:, None, :] >= known_BR) & present_BP[:, None, :]
    return torch.cat([content_BRL, masks_BRP, torch.zeros_like(masks_BRP)], dim=2)


def _distances(encoder: Any, at_BR: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - transformers has no types
    """The bias of every head for every pair of rows, by transformers' own 32 buckets up to 128, in rows of any length;
    its own function takes neighbouring rows for neighbours."""
    buckets_BRR = encoder.relative_position_bucket(at_BR[:, None, :] - at_BR[:, :, None])
    bias: torch.Tensor = encoder.relative_attention_bias(buckets_BRR).permute(0, 3, 1, 2)
    return bias
