"""GPT-2 one token at a time. transformers' way through a layer is made for any batch of any model: for one token it
takes longer than the products in it, and copies all keys and values to add one. Here are the products and little else,
over keys and values whose room is there from the beginning; the numbers are the same.

Legend: R rows (texts), A heads of D, S places that there is room for, H width.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

# (weight, bias); of a product the weight is (in, out), as GPT-2 has them
Pair = tuple[torch.Tensor, torch.Tensor]

# From so many rows on oneDNN multiplies fp32 faster than MKL: 1.6 times with 8 rows on an AMD EPYC, 1.0 with 2, 0.5
# with one
MANY_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class Layer:
    norm: Pair
    attention: Pair
    output: Pair
    feed_norm: Pair
    inner: Pair
    outer: Pair
    keys: torch.Tensor  # (R, A, S, D)
    values: torch.Tensor


def fits(network: PreTrainedModel) -> bool:
    """Is it a GPT-2 that computes as the first one did?"""
    config = network.config
    return (
        config.model_type == "gpt2"
        and config.activation_function in ("gelu_new", "gelu_pytorch_tanh")  # the same, in other operations
        and config.scale_attn_weights
        and not config.scale_attn_by_inverse_layer_idx
        and config._attn_implementation == "sdpa"
    )


class Gpt2Steps:
    """A network whose texts have been read into `cache`, with room for `places` tokens a row."""

    def __init__(self, network: PreTrainedModel, cache: DynamicCache, *, places: int) -> None:
        body = network.base_model
        self.head = network.get_output_embeddings().weight
        self.turned = turned_head(network) if cache.layers[0].keys.shape[0] == 1 else None
        self.tokens, self.positions, self.norm = body.wte.weight, body.wpe.weight, _pair(body.ln_f)
        self.epsilon = network.config.layer_norm_epsilon
        self.filled = cache.get_seq_length()
        self.layers = [
            _layer(block, read.keys, read.values, places) for block, read in zip(body.h, cache.layers, strict=True)
        ]

    def step(self, tokens_R: torch.Tensor, at_R: torch.Tensor, seen_RS: torch.Tensor | None) -> torch.Tensor:
        """Logits after one more token a row, which stands at `at_R` of its text; `seen_RS`: which places of the rows
        are tokens, that one included, where some are padding."""
        state_RH = F.embedding(tokens_R, self.tokens) + F.embedding(at_R, self.positions)
        mask = None if seen_RS is None else seen_RS[:, None, None, :].bool()
        for layer in self.layers:
            state_RH = self._through(layer, state_RH, mask)
        self.filled += 1
        answer_RH = self._normed(state_RH, self.norm)
        return answer_RH @ self.turned if self.turned is not None else _linear(answer_RH, self.head, None)

    def _through(self, layer: Layer, state_RH: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        rows, heads, _, width = layer.keys.shape
        asked = _product(self._normed(state_RH, layer.norm), layer.attention).view(rows, 3, heads, 1, width)
        end = self.filled + 1
        layer.keys[:, :, self.filled : end] = asked[:, 1]
        layer.values[:, :, self.filled : end] = asked[:, 2]
        told = F.scaled_dot_product_attention(
            asked[:, 0], layer.keys[:, :, :end], layer.values[:, :, :end], attn_mask=mask
        )
        state_RH = state_RH + _product(told.reshape(rows, -1), layer.output)
        inner = F.gelu(_product(self._normed(state_RH, layer.feed_norm), layer.inner), approximate="tanh")
        return state_RH + _product(inner, layer.outer)

    def _normed(self, state_RH: torch.Tensor, norm: Pair) -> torch.Tensor:
        return F.layer_norm(state_RH, state_RH.shape[-1:], *norm, self.epsilon)


def _layer(block: Any, keys: torch.Tensor, values: torch.Tensor, places: int) -> Layer:  # noqa: ANN401 - transformers
    return Layer(
        norm=_pair(block.ln_1),
        attention=_pair(block.attn.c_attn),
        output=_pair(block.attn.c_proj),
        feed_norm=_pair(block.ln_2),
        inner=_pair(block.mlp.c_fc),
        outer=_pair(block.mlp.c_proj),
        keys=_with_room(keys, places),
        values=_with_room(values, places),
    )


def _pair(module: Any) -> Pair:  # noqa: ANN401
    return module.weight, module.bias


def _product(state: torch.Tensor, pair: Pair) -> torch.Tensor:
    weight, bias = pair
    return _linear(state, weight.t(), bias) if len(state) >= MANY_ROWS else torch.addmm(bias, state, weight)


def _linear(state: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """F.linear, which is MKL's in fp32 whatever the processor."""
    here = state.device.type == "cpu" and state.dtype == torch.float32
    if not here or len(state) < MANY_ROWS or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return F.linear(state, weight, bias)
    answer: torch.Tensor = torch.ops.mkldnn._linear_pointwise(state, weight, bias, "none", [], "")
    return answer


# Network -> version of its head, and the head as (in, out)
_TURNED: WeakKeyDictionary[PreTrainedModel, tuple[int, torch.Tensor]] = WeakKeyDictionary()


def turned_head(network: PreTrainedModel) -> torch.Tensor:
    """The head as (in, out), kept beside the network: with one row it is read 1.4 times as fast as (out, in)."""
    head = network.get_output_embeddings().weight
    version, turned = _TURNED.get(network, (None, head))
    if version != head._version:
        turned = head.detach().t().contiguous()
        _TURNED[network] = head._version, turned
    return turned


def _with_room(read: torch.Tensor, places: int) -> torch.Tensor:
    rows, heads, filled, width = read.shape
    room = read.new_empty(rows, heads, places, width)
    room[:, :, :filled] = read
    return room
