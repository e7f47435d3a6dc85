"""The last layer of an encoder whose answers are read at the predicted places alone: what stands behind its attention
is computed there and nowhere else. Of BERT with 6 layers and 30 % hidden that is a twelfth of all products.

The classes take the place of transformers' own on the same parameters; without `rows` that say what is asked for,
theirs computes.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.modernbert.modeling_modernbert import ModernBertEncoderLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer


class Asked(nn.Module, ABC):
    """Before a layer's own class: `answer` where `rows` say what is asked for, the layer's own forward elsewhere."""

    def forward(self, hidden_states: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401
        rows = named.get("rows")
        if rows is None or rows.asked_N is None:
            everywhere: torch.Tensor = super().forward(hidden_states, *more, **named)
            return everywhere
        return self.answer(hidden_states, rows.asked_N, **named)

    @abstractmethod
    def answer(self, hidden_1TH: torch.Tensor, asked_N: torch.Tensor, **named: Any) -> torch.Tensor:  # noqa: ANN401
        """(1, N, H)."""


class AskedBert(Asked):
    """RoBERTa's layers are written as BERT's are; none of them is a decoder's."""

    attention: Any
    feed_forward_chunk: Any

    def answer(
        self,
        hidden_1TH: torch.Tensor,
        asked_N: torch.Tensor,
        encoder_attention_mask: None = None,
        **named: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        seen, _ = self.attention.self(hidden_1TH, **named)
        seen, hidden = (each.index_select(1, asked_N) for each in (seen, hidden_1TH))
        told: torch.Tensor = self.feed_forward_chunk(self.attention.output(seen, hidden))
        return told


class LastBertLayer(AskedBert, BertLayer):  # type: ignore[misc]  # transformers has no types
    pass


class LastRobertaLayer(AskedBert, RobertaLayer):  # type: ignore[misc]
    pass


class LastModernBertLayer(Asked, ModernBertEncoderLayer):  # type: ignore[misc]
    attn_norm: Any
    attn: Any
    mlp_norm: Any
    mlp: Any

    def answer(self, hidden_1TH: torch.Tensor, asked_N: torch.Tensor, **named: Any) -> torch.Tensor:  # noqa: ANN401
        seen, _ = self.attn(self.attn_norm(hidden_1TH), **named)
        hidden = (hidden_1TH + seen).index_select(1, asked_N)
        told: torch.Tensor = hidden + self.mlp(self.mlp_norm(hidden))
        return told


LAST: dict[type[nn.Module], type[nn.Module]] = {
    BertLayer: LastBertLayer,
    RobertaLayer: LastRobertaLayer,
    ModernBertEncoderLayer: LastModernBertLayer,
}


def answer_what_is_asked(network: PreTrainedModel) -> None:
    encoder = network.base_model
    layer: nn.Module = (encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layer)[-1]
    if type(layer) in LAST:  # and not already so
        layer.__class__ = LAST[type(layer)]
