"""MPNet as its paper draws it (Song et al. 2020, "MPNet: Masked and Permuted Pre-training for Language Understanding",
section 2.3 and figure 2), one place after another, for the tests of permuted_lm.py. It shares no line with runjob and
takes nothing of transformers but the names of the tensors: what a place looks at is a list that is written down here as
in the paper, and attention is a sum over that list.

    sentence x_1 .. x_n, a permutation z, of which the first c are not predicted
    not predicted   x_z(1) .. x_z(c)  and, at the places z(c+1) .. z(n), masks M: they see each other, nothing else
    content of t    x_z(t), t > c: sees x_z(1) .. x_z(t) and the masks of z(t+1) .. z(n)
    query of t      M of z(t), t > c: sees x_z(1) .. x_z(t-1) and the masks of z(t) .. z(n); predicts x_z(t)

Figure 2 has n = 6, z = (1, 5, 3, 4, 6, 2), c = 3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

Weights = Mapping[str, torch.Tensor]


class Item(NamedTuple):
    """A key and value: the true token of a place, or the mask there."""

    kind: str
    place: int


class Streams(NamedTuple):
    """`items`: hidden states of tokens and masks; `queries` by place; `loss`: summed over what is predicted."""

    items: dict[Item, torch.Tensor]
    queries: dict[int, torch.Tensor]
    loss: torch.Tensor


def what_is_seen(permutation: Sequence[int], visible: int) -> tuple[dict[Item, list[Item]], dict[int, list[Item]]]:
    """By content row and by query."""
    known, hidden = permutation[:visible], permutation[visible:]
    together = [Item("token", place) for place in known] + [Item("mask", place) for place in hidden]
    content: dict[Item, list[Item]] = {item: together for item in together}
    queries: dict[int, list[Item]] = {}
    for count, place in enumerate(hidden):
        before = [Item("token", other) for other in [*known, *hidden[:count]]]
        content[Item("token", place)] = [
            *before,
            Item("token", place),
            *(Item("mask", other) for other in hidden[count + 1 :]),
        ]
        queries[place] = [*before, *(Item("mask", other) for other in hidden[count:])]
    return content, queries


def run_two_streams(
    weights: Weights,
    tokens: Sequence[int],
    stand_ins: Mapping[int, int],
    permutation: Sequence[int],
    *,
    heads: int,
) -> Streams:
    """`stand_ins`: what stands at a predicted place in the place of its token."""
    visible = len(tokens) - len(stand_ins)
    content_sees, query_sees = what_is_seen(permutation, visible)
    items = {
        item: embed(weights, tokens[item.place] if item.kind == "token" else stand_ins[item.place], item.place)
        for item in content_sees
    }
    queries = {place: embed(weights, stand_ins[place], place) for place in query_sees}
    layers = {int(name.split(".")[3]) for name in weights if name.startswith("mpnet.encoder.layer.")}
    for number in sorted(layers):
        layer = Layer(weights, f"mpnet.encoder.layer.{number}.", heads)
        keys = {
            item: (layer.linear("attention.attn.k", h), layer.linear("attention.attn.v", h))
            for item, h in items.items()
        }
        new_items = {
            item: layer.transform(hidden, item.place, [(other.place, *keys[other]) for other in content_sees[item]])
            for item, hidden in items.items()
        }
        queries = {
            place: layer.transform(hidden, place, [(other.place, *keys[other]) for other in query_sees[place]])
            for place, hidden in queries.items()
        }
        items = new_items
    loss = sum((-head(weights, hidden)[tokens[place]] for place, hidden in queries.items()), torch.zeros(()))
    return Streams(items, queries, torch.as_tensor(loss))


def embed(weights: Weights, token: int, place: int) -> torch.Tensor:
    # the table of positions begins with two rows that no place has
    total = weights["mpnet.embeddings.word_embeddings.weight"][token]
    total = total + weights["mpnet.embeddings.position_embeddings.weight"][place + 2]
    return norm(weights, "mpnet.embeddings.LayerNorm", total)


def norm(weights: Weights, name: str, value: torch.Tensor) -> torch.Tensor:
    centred = value - value.mean()
    scaled = centred / torch.sqrt((centred**2).mean() + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def head(weights: Weights, hidden: torch.Tensor) -> torch.Tensor:
    """Log probabilities."""
    inner = F.gelu(hidden @ weights["lm_head.dense.weight"].T + weights["lm_head.dense.bias"])
    inner = norm(weights, "lm_head.layer_norm", inner)
    return (inner @ weights["mpnet.embeddings.word_embeddings.weight"].T + weights["lm_head.bias"]).log_softmax(-1)


def bucket(distance: int) -> int:
    """T5's (Raffel et al. 2020, section 2.1): of 32, half for each side; 8 near ones each by itself, far ones by their
    logarithm up to 128."""
    side = 16 if distance > 0 else 0
    size = abs(distance)
    if size < 8:
        return side + size
    return side + min(8 + int(math.log(size / 8) / math.log(128 / 8) * 8), 15)


class Layer:
    def __init__(self, weights: Weights, prefix: str, heads: int) -> None:
        self.weights = weights
        self.prefix = prefix
        self.heads = heads

    def linear(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return value @ self.weights[f"{self.prefix}{name}.weight"].T + self.weights[f"{self.prefix}{name}.bias"]

    def transform(
        self, hidden: torch.Tensor, place: int, seen: Sequence[tuple[int, torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        """Attention over what is seen, then the feed-forward part, a norm behind each."""
        query = self.linear("attention.attn.q", hidden).view(self.heads, -1)
        bias = self.weights["mpnet.encoder.relative_attention_bias.weight"]
        scores = torch.stack(
            [
                (query * key.view(self.heads, -1)).sum(-1) / math.sqrt(query.shape[1]) + bias[bucket(other - place)]
                for other, key, _ in seen
            ]
        )
        values = torch.stack([value.view(self.heads, -1) for _, _, value in seen])
        attended = (scores.softmax(0)[:, :, None] * values).sum(0).flatten()
        hidden = self.norm("attention.LayerNorm", hidden + self.linear("attention.attn.o", attended))
        inner = F.gelu(self.linear("intermediate.dense", hidden))
        return self.norm("output.LayerNorm", hidden + self.linear("output.dense", inner))

    def norm(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return norm(self.weights, self.prefix + name, value)
