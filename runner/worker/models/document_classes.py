"""What the loop trains for `objective: sequence_classification`: a network of transformers with a head for a row. It is
asked by what stands at the row's first token, as every family of transformers does it.

Legend: B rows, L tokens of the longest, C classes.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.row_classes import row_answer
from runjob.runner.worker.models.token_classes import FAMILIES
from runjob.schemas.errors import JobError

ROW_FAMILIES = (*FAMILIES, "canine")


def check_row_family(network: PreTrainedModel) -> None:
    """JobError for a network whose head we do not know."""
    if network.config.model_type not in ROW_FAMILIES:
        said = f"this objective knows the families {', '.join(ROW_FAMILIES)}"
        raise JobError(f"model.init.path: {said}, not {network.config.model_type}")


class DocumentClassesObjective(nn.Module):
    """`labels` are numbers of classes, -100 everywhere but at the first token. Parameter names are `network.` plus
    those of transformers."""

    def __init__(self, network: PreTrainedModel, weights: Sequence[float] | None) -> None:
        super().__init__()
        self.network = network
        self.weights = weights

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        logits_BC = self.network(input_ids=input_ids, **seen_by(self.network, attention_mask, None)).logits
        return row_answer(logits_BC, labels, weights=self.weights, training=self.training)
