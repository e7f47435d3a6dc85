"""What the loop trains for `objective: mlm`. The body sees the whole row; the head, a matrix of the vocabulary's size,
only the places that are predicted: at 15 % of them it does a seventh of the work, and the loss is the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models import canine_end_to_end
from runjob.runner.worker.models.canine import classes_of
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.end_to_end import RowPlaces, rows_apart, tell_rows_apart
from runjob.runner.worker.models.linear_loss import IGNORED, linear_loss
from runjob.schemas.errors import JobError


def _dense_gelu_norm(head: Any, hidden: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - transformers has no types
    answer: torch.Tensor = head.layer_norm(F.gelu(head.dense(hidden)))
    return answer


# Family -> what its head does before the matrix, which is the network's output embeddings
HEADS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "bert": lambda network, hidden: network.cls.predictions.transform(hidden),
    "canine": lambda network, hidden: network.head.before_matrix(hidden),
    "deberta-v2": lambda network, hidden: network.cls.predictions.transform(hidden),
    "modernbert": lambda network, hidden: network.head(hidden),
    "mpnet": lambda network, hidden: _dense_gelu_norm(network.lm_head, hidden),
    "roberta": lambda network, hidden: _dense_gelu_norm(network.lm_head, hidden),
}


def check_family(network: PreTrainedModel) -> None:
    """JobError for a network whose head we do not know."""
    if network.config.model_type not in HEADS:
        raise JobError(
            f"model.init.path: objective mlm knows the families {', '.join(HEADS)}, not {network.config.model_type}"
        )


class MaskedLMObjective(nn.Module):
    """`labels` are the hidden tokens at their places, -100 elsewhere; of the network's ids the first `vocabulary` are
    predicted (None: all). `end_to_end`: rows of different lengths are computed without padding. Parameter names are
    `network.` plus those of transformers."""

    def __init__(self, network: PreTrainedModel, *, vocabulary: int | None = None, end_to_end: bool = False) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.end_to_end = end_to_end
        if end_to_end and network.config.model_type == "canine":
            canine_end_to_end.prepare(network)
        elif end_to_end:
            tell_rows_apart(network)

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
        predicted_BL = labels != IGNORED
        if self.end_to_end and attention_mask is not None:
            hidden_NH = self._hidden_end_to_end(input_ids, attention_mask, predicted_BL)
        else:
            seen = seen_by(self.network, attention_mask, position_ids)
            hidden_NH = self.network.base_model(input_ids=input_ids, **seen).last_hidden_state[predicted_BL]
        # N: the predicted places of all rows
        targets_N = labels[predicted_BL]
        if self.network.config.model_type == "canine":
            targets_N = classes_of(targets_N, table=self.network.config.character_table)
        answer_NH = self._before_matrix(hidden_NH)
        losses = linear_loss(answer_NH, self.network.get_output_embeddings(), targets_N, classes=self.vocabulary)
        watched_sum = None if watched is None else losses.each[watched[predicted_BL]].sum(dtype=torch.float64)
        return Answer(losses.sum, predicted_BL.sum(), watched_sum)

    def _hidden_end_to_end(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, predicted_BL: torch.Tensor
    ) -> torch.Tensor:
        """(N, H)."""
        encoder = self.network.base_model
        if self.network.config.model_type == "canine":
            places = canine_end_to_end.CharacterPlaces.of(attention_mask, self.network.config)
            return canine_end_to_end.encode(encoder, input_ids, places, predicted_BL)
        rows = RowPlaces.of(attention_mask, predicted_BL)
        tokens_1T = input_ids.flatten()[rows.tokens_T][None]
        hidden_NH: torch.Tensor = encoder(input_ids=tokens_1T, **rows_apart(self.network, rows)).last_hidden_state[0]
        return hidden_NH

    def predict(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits_NV: torch.Tensor = self.network.get_output_embeddings()(self._before_matrix(hidden_NH))
        return logits_NV

    def _before_matrix(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        return HEADS[self.network.config.model_type](self.network, hidden_NH)
