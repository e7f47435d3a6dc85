"""The last layer of an encoder whose answers are read at the predicted places alone: what stands behind its attention
is computed there and nowhere else. Of BERT with 6 layers and 30 % hidden that is a twelfth of all products.

The classes take the place of transformers' own on the same parameters; without `rows` that say what is asked for,
theirs computes.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.modernbert.modeling_modernbert import ModernBertEncoderLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer


class LastBertLayer(BertLayer):  # type: ignore[misc]  # transformers has no types
    def forward(self, hidden_states: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401
        asked = asked_of(named)
        plain = super().forward
        told: torch.Tensor = (
            plain(hidden_states, *more, **named) if asked is None else answer(self, hidden_states, asked, named)
        )
        return told


class LastRobertaLayer(RobertaLayer):  # type: ignore[misc]
    def forward(self, hidden_states: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401
        asked = asked_of(named)
        plain = super().forward
        told: torch.Tensor = (
            plain(hidden_states, *more, **named) if asked is None else answer(self, hidden_states, asked, named)
        )
        return told


class LastModernBertLayer(ModernBertEncoderLayer):  # type: ignore[misc]
    def forward(self, hidden_states: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401
        asked = asked_of(named)
        if asked is None:
            everywhere: torch.Tensor = super().forward(hidden_states, *more, **named)
            return everywhere
        seen, _ = self.attn(self.attn_norm(hidden_states), **named)
        hidden = (hidden_states + seen).index_select(1, asked)
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


def asked_of(named: dict[str, Any]) -> torch.Tensor | None:
    rows = named.get("rows")
    return None if rows is None else rows.asked_N


def answer(layer: Any, hidden_1TH: torch.Tensor, asked_N: torch.Tensor, named: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
    """As BertLayer.forward without a decoder: (1, N, H)."""
    own = {name: value for name, value in named.items() if name != "encoder_attention_mask"}
    seen, _ = layer.attention.self(hidden_1TH, **own)
    seen, hidden = (each.index_select(1, asked_N) for each in (seen, hidden_1TH))
    told: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(seen, hidden))
    return told
