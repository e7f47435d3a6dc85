"""What the loop trains for `objective: mlm`. The body sees the whole row; the head, a matrix of the vocabulary's size,
only the places that are predicted: at 15 % of them it does a seventh of the work, and the loss is the same."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models.canine import classes_of
from runjob.runner.worker.models.causal_lm import IGNORED, Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.schemas.errors import JobError

# Family -> the modules of its head, in order
HEADS: dict[str, tuple[str, ...]] = {
    "bert": ("cls",),
    "canine": ("head",),
    "deberta-v2": ("cls",),
    "modernbert": ("head", "decoder"),
    "mpnet": ("lm_head",),
    "roberta": ("lm_head",),
}


def check_family(network: PreTrainedModel) -> None:
    """JobError for a network whose head we do not know."""
    if network.config.model_type not in HEADS:
        raise JobError(
            f"model.init.path: objective mlm knows the families {', '.join(HEADS)}, not {network.config.model_type}"
        )


class MaskedLMObjective(nn.Module):
    """`labels` are the hidden tokens at their places, -100 elsewhere; of the network's ids the first `vocabulary` are
    predicted (None: all). Parameter names are `network.` plus those of transformers."""

    def __init__(self, network: PreTrainedModel, *, vocabulary: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary

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
        hidden_BLH = self.network.base_model(input_ids=input_ids, **seen).last_hidden_state
        # N: the predicted places of all rows
        predicted_BL = labels != IGNORED
        logits_NV = self.predict(hidden_BLH[predicted_BL])[:, : self.vocabulary]
        targets_N = labels[predicted_BL]
        if self.network.config.model_type == "canine":
            targets_N = classes_of(targets_N, table=logits_NV.shape[1])
        losses = F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
        watched_sum = None if watched is None else losses[watched[predicted_BL]].sum(dtype=torch.float64)
        return Answer(losses.sum(dtype=torch.float64), predicted_BL.sum(), watched_sum)

    def predict(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        answer = hidden_NH
        for name in HEADS[self.network.config.model_type]:
            answer = getattr(self.network, name)(answer)
        return answer
