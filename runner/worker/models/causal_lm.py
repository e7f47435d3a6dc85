"""What the loop trains for `objective: clm`: a network that answers with a summed loss and a count.

The sum, not the mean: only the loop knows how many tokens a whole step predicts over all ranks and micro batches, and
divides once by that.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models.document_attention import seen_by

IGNORED = -100


class Answer(NamedTuple):
    """A tuple by name, because ZeRO 3 looks for tensors in tuples and not in dataclasses."""

    loss_sum: torch.Tensor  # float64, nats over all predicted tokens
    predicted: torch.Tensor  # int64
    watched_sum: torch.Tensor | None = None  # float64, nats over those of them that somebody watches


@dataclass(kw_only=True)
class Nats:
    """Losses summed over an evaluation, and of them those of watched labels."""

    all: float = 0.0
    watched: float = 0.0

    def add(self, answer: Answer) -> None:
        self.all += float(answer.loss_sum)
        self.watched += float(answer.watched_sum) if answer.watched_sum is not None else 0.0

    def join(self, other: "Nats") -> None:
        self.all += other.all
        self.watched += other.watched


class CausalLMObjective(nn.Module):
    """`labels` already are the next tokens, -100 where nothing is predicted; parameter names are `network.` plus
    those of transformers."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        watched: torch.Tensor | None = None,
    ) -> Answer:
        """With `position_ids` (from 0 in each document) the documents of a row are kept apart; `watched`: of which
        labels an evaluation wants the loss by itself."""
        seen = seen_by(self.network, attention_mask, position_ids)
        logits_BLV = self.network(input_ids=input_ids, use_cache=False, **seen).logits
        # fp32 before the softmax: in bf16 a loss of 3 is known to 0.016, and the sum of a row not at all.
        losses = F.cross_entropy(
            logits_BLV.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        # Summed in float64: however a global batch is cut into micro batches, the sum is the same to 1e-12.
        watched_sum = None if watched is None else losses[watched.flatten()].sum(dtype=torch.float64)
        return Answer(losses.sum(dtype=torch.float64), (labels != IGNORED).sum(), watched_sum)
