"""What the loop trains for `objective: clm`: a network that answers with a summed loss and a count.

The sum, not the mean: only the loop knows how many tokens a whole step predicts over all ranks and micro batches, and
divides once by that.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.linear_loss import IGNORED, Losses, linear_loss, plain_loss

# Families whose head is one matrix and nothing else, after the body's last norm; others scale or bend their logits
MATRIX_HEADS = ("gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen2", "qwen3")


class Found(NamedTuple):
    """Of an evaluation of texts by their vectors: numbers of rows (N) and the vectors of both their texts (N, 2, H)."""

    rows: torch.Tensor
    vectors: torch.Tensor


class Answer(NamedTuple):
    """A tuple by name, because ZeRO 3 looks for tensors in tuples and not in dataclasses."""

    loss_sum: torch.Tensor  # float64, nats over all predicted tokens
    predicted: torch.Tensor  # int64
    watched_sum: torch.Tensor | None = None  # float64, nats over those of them that somebody watches
    tally: torch.Tensor | None = None  # int64, of an evaluation of labels (label_metrics.py)
    found: Found | None = None  # of an evaluation of vectors (retrieval.py)


@dataclass(kw_only=True)
class Nats:
    """Losses summed over an evaluation, and of them those of watched labels; where labels are evaluated, what was
    counted of them, and where texts are, what they became."""

    all: float = 0.0
    watched: float = 0.0
    tally: torch.Tensor | None = None
    found: list[Found] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        self.all += float(answer.loss_sum)
        self.watched += float(answer.watched_sum) if answer.watched_sum is not None else 0.0
        self._count(answer.tally)
        self.found += [] if answer.found is None else [answer.found]

    def join(self, other: "Nats") -> None:
        self.all += other.all
        self.watched += other.watched
        self._count(other.tally)
        self.found += other.found

    def _count(self, tally: torch.Tensor | None) -> None:
        if tally is not None:
            self.tally = tally if self.tally is None else self.tally + tally


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
        losses = self._losses(input_ids, labels.flatten(), seen_by(self.network, attention_mask, position_ids))
        watched_sum = None if watched is None else losses.each[watched.flatten()].sum(dtype=torch.float64)
        return Answer(losses.sum, (labels != IGNORED).sum(), watched_sum)

    def _losses(self, input_ids: torch.Tensor, targets_N: torch.Tensor, seen: dict[str, Any]) -> Losses:
        if self.network.config.model_type not in MATRIX_HEADS:
            logits_BLV = self.network(input_ids=input_ids, use_cache=False, **seen).logits
            return plain_loss(logits_BLV.flatten(0, 1), targets_N)
        hidden_BLH = self.network.base_model(input_ids=input_ids, use_cache=False, **seen).last_hidden_state
        return linear_loss(hidden_BLH.flatten(0, 1), self.network.get_output_embeddings(), targets_N)
