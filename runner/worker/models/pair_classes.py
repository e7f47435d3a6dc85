"""What the loop trains for `objective: relation_classification`: a network of transformers with a head for each token,
of which two tokens are asked, the marks at which the two spans begin.

Baldini Soares et al. (2019, section 3.3, figure 3 (f)) put the states at both marks end to end and multiply by one
matrix, W [h1; h2] + b. Cut in two, W1 h1 + W2 h2 + b, that is what a head with twice as many outputs says: its first
half at [E1] plus its second half at [E2]. So the network is one that transformers knows, saves and loads.

Legend: B rows, L tokens of the longest, C classes, 2C outputs.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from runjob.data.pairs import MARKS
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.row_classes import row_answer


class PairClassesObjective(nn.Module):
    """`labels` are numbers of classes, -100 everywhere but at [E1]. Parameter names are `network.` plus those of
    transformers; `ids` of the marks by their text."""

    def __init__(self, network: PreTrainedModel, ids: Mapping[str, int], weights: Sequence[float] | None) -> None:
        super().__init__()
        self.network = network
        self.openings = tuple(ids[opening] for opening, _ in MARKS)
        self.weights = weights

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        outputs_BLT = self.network(input_ids=input_ids, **seen_by(self.network, attention_mask, None)).logits
        logits_BC = at_marks(outputs_BLT.float(), input_ids, self.openings)
        return row_answer(logits_BC, labels, weights=self.weights, training=self.training)


def at_marks(outputs_BLT: torch.Tensor, ids_BL: torch.Tensor, openings: Sequence[int]) -> torch.Tensor:
    """What the head says of each row, (B, C): the first half of its outputs at the first mark, the rest at the
    second."""
    rows = torch.arange(len(ids_BL), device=ids_BL.device)
    first, second = ((ids_BL == opening).int().argmax(dim=1) for opening in openings)
    classes = outputs_BLT.shape[-1] // len(openings)
    return outputs_BLT[rows, first, :classes] + outputs_BLT[rows, second, classes:]
