"""The layer behind a vector of a student that is narrower, or wider, than its teacher: H numbers become D. It hangs in
the network under a name of its own, so that engine, checkpoint and optimiser have it like any other layer; the forward
pass of transformers doesn't ask it. In a finished model it is a module of sentence-transformers' (Dense)."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

NAME = "dense"
PREFIX = f"{NAME}."


def add_dense(network: PreTrainedModel, width: int, *, seed: int) -> None:
    """A new layer for vectors of `width` numbers, in fp32, as torch draws one; none where the network has that many."""
    if width == network.config.hidden_size:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.add_module(NAME, nn.Linear(network.config.hidden_size, width))


def through_dense(network: PreTrainedModel, vectors_TH: torch.Tensor) -> torch.Tensor:
    """(T, D) in fp32; the same where there is no such layer."""
    layer = dict(network.named_children()).get(NAME)
    if layer is None:
        return vectors_TH
    # its call, not its weights: ZeRO 3 brings them together when a module is called
    found: torch.Tensor = layer(vectors_TH.to(next(layer.parameters()).dtype))
    return found.float()


def dense_in(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Its `weight` (D, H) and `bias` (D) among those of a checkpoint; nothing where it has no such layer."""
    return {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}


def without_dense(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The body's alone."""
    return {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
