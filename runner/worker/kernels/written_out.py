"""Attention of the families in which transformers writes it out (MPNet, CANINE, DeBERTa), with the kernel in place of
scale, mask, softmax and dropout. Each class takes the place of theirs on the same parameters; where nobody casts to
bf16, or the probabilities themselves are asked for, theirs computes.

Legend: B rows, H heads, Q queries and K keys (or L of both), W width.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers.models.canine.modeling_canine import CanineSelfAttention
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, scaled_size_sqrt
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from runjob.runner.worker.kernels import softmax
from runjob.runner.worker.kernels.attention import Attention
from runjob.runner.worker.kernels.draw import Draw, draw


class Softmax(torch.autograd.Function):
    """Of scores that somebody else has computed, and that nobody needs any more: they become the probabilities."""

    @staticmethod
    def forward(ctx: Any, scores_BHQK: torch.Tensor, visible: torch.Tensor, drawn: Draw) -> torch.Tensor:  # noqa: ANN401
        dropped = softmax.probabilities(scores_BHQK, visible, scale=1.0, causal=False, draw=drawn)
        ctx.save_for_backward(scores_BHQK)
        ctx.drawn = drawn
        return dropped if dropped is not scores_BHQK else scores_BHQK.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        (probabilities,) = ctx.saved_tensors
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        softmax.gradients(probabilities, gradient, scale=1.0, causal=False, draw=ctx.drawn)
        return gradient, None, None


class FusedMPNetAttention(MPNetSelfAttention):  # type: ignore[misc]  # transformers has no types
    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        output_attentions: bool = False,
        **more: Any,  # noqa: ANN401 - what transformers passes besides
    ) -> tuple[torch.Tensor, ...]:
        if output_attentions or not torch.is_autocast_enabled("cpu"):
            answer: tuple[torch.Tensor, ...] = super().forward(
                hidden_states, attention_mask, position_bias, output_attentions, **more
            )
            return answer
        query, key, value = (
            _by_heads(each(hidden_states), self.num_attention_heads) for each in (self.q, self.k, self.v)
        )
        given = [each for each in (position_bias, attention_mask) if each is not None]
        bias = sum(given[1:], given[0]) if given else None
        drawn = draw(self.dropout.p if self.training else 0.0)
        seen = Attention.apply(query, key, value, bias, self.attention_head_size**-0.5, False, drawn)  # type: ignore[no-untyped-call]
        return (self.o(seen.flatten(2)),)


class FusedCanineAttention(CanineSelfAttention):  # type: ignore[misc]
    def forward(
        self,
        from_tensor: torch.Tensor,
        to_tensor: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool | None = False,
    ) -> tuple[torch.Tensor, ...]:
        if output_attentions or not torch.is_autocast_enabled("cpu"):
            answer: tuple[torch.Tensor, ...] = super().forward(
                from_tensor, to_tensor, attention_mask, output_attentions
            )
            return answer
        query = _by_heads(self.query(from_tensor), self.num_attention_heads)
        key, value = (_by_heads(each(to_tensor), self.num_attention_heads) for each in (self.key, self.value))
        if attention_mask is not None and attention_mask.ndim == 3:
            # Numbers and not booleans: a row of padding alone sees all of it alike, as in transformers, and the
            # convolutions read what it answers
            hidden = torch.finfo(query.dtype).min
            attention_mask = ((1.0 - attention_mask.float()) * hidden)[:, None].to(query.dtype)
        drawn = draw(self.dropout.p if self.training else 0.0)
        scale = self.attention_head_size**-0.5
        return (Attention.apply(query, key, value, attention_mask, scale, False, drawn).flatten(2),)  # type: ignore[no-untyped-call]


class FusedDisentangledAttention(DisentangledSelfAttention):  # type: ignore[misc]
    """DeBERTa's: what distances add to the scores stays theirs."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        output_attentions: bool = False,
        query_states: torch.Tensor | None = None,
        relative_pos: torch.Tensor | None = None,
        rel_embeddings: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if output_attentions or not torch.is_autocast_enabled("cpu"):
            answer: tuple[torch.Tensor, torch.Tensor | None] = super().forward(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
            return answer
        heads = self.num_attention_heads
        asking = hidden_states if query_states is None else query_states
        query = self.transpose_for_scores(self.query_proj(asking), heads)
        key = self.transpose_for_scores(self.key_proj(hidden_states), heads)
        value = self.transpose_for_scores(self.value_proj(hidden_states), heads)
        kinds = 1 + ("c2p" in self.pos_att_type) + ("p2c" in self.pos_att_type)
        scores = torch.bmm(query, key.transpose(1, 2) / scaled_size_sqrt(query, kinds).to(query.dtype))
        if self.relative_attention:
            distances = self.pos_dropout(rel_embeddings)
            scores = scores + self.disentangled_attention_bias(query, key, relative_pos, distances, kinds)
        scores_BHQK = scores.view(-1, heads, *scores.shape[1:])
        drawn = draw(self.dropout.p if self.training else 0.0)
        dropped = Softmax.apply(scores_BHQK, attention_mask.bool(), drawn)  # type: ignore[no-untyped-call]
        seen = torch.bmm(dropped.flatten(0, 1), value)
        return seen.view(-1, heads, *seen.shape[1:]).transpose(1, 2).flatten(2), None


def _by_heads(each_BLW: torch.Tensor, heads: int) -> torch.Tensor:
    return each_BLW.view(*each_BLW.shape[:2], heads, -1).transpose(1, 2)
