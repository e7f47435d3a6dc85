"""What the loop trains for `objective: char_ar`: hidden characters one after another, in the order that the row brings
(data/ordered_rows.py)."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models.canine_ordered import CanineForOrderedCharacters, ordered_places
from runjob.runner.worker.models.causal_lm import Answer


class OrderedCharactersObjective(nn.Module):
    """`labels` are the hidden characters at their places, -100 elsewhere; `order` counts the places of a row from 0 as
    they are predicted, -1 elsewhere. Parameter names are `network.` plus those of the class."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        assert isinstance(network, CanineForOrderedCharacters)
        self.network = network

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        order: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> Answer:
        hidden_BLH = self.network.canine(input_ids, attention_mask).last_hidden_state
        logits_NV, classes_N = self.network.ordered_logits(hidden_BLH, labels, ordered_places(order))
        losses = F.cross_entropy(logits_NV.float(), classes_N, reduction="none")
        return Answer(losses.sum(dtype=torch.float64), (order >= 0).sum())
