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
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.data.label_counts import LabelsSummary
from runjob.data.pairs import MARKS, Relations
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.pair_metrics import tally_pairs
from runjob.schemas.job_model import RelationClassification
from runjob.schemas.tags import UNRELATED


class PairClassesObjective(nn.Module):
    """`labels` are numbers of classes, -100 everywhere but at [E1]. Parameter names are `network.` plus those of
    transformers; `ids` of the marks by their text."""

    def __init__(
        self, network: PreTrainedModel, relations: Relations, ids: Mapping[str, int], weights: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.network = network
        self.relations = relations
        self.openings = tuple(ids[opening] for opening, _ in MARKS)
        self.weights = weights

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        outputs_BLT = self.network(input_ids=input_ids, **seen_by(self.network, attention_mask, None)).logits
        logits_BC = at_marks(outputs_BLT.float(), input_ids, self.openings)
        wanted_B = labels.max(dim=1).values  # a row that asks nothing keeps -100
        each = F.cross_entropy(logits_BC, wanted_B, ignore_index=IGNORED, reduction="none")
        if self.weights is not None:
            weights_C = torch.tensor(self.weights, dtype=each.dtype, device=each.device)
            each = each * weights_C[wanted_B.clamp(min=0)]
        tally = None if self.training else tally_pairs(labels, logits_BC.argmax(-1), self.relations)
        return Answer(each.sum(dtype=torch.float64), (wanted_B != IGNORED).sum(), tally=tally)


def at_marks(outputs_BLT: torch.Tensor, ids_BL: torch.Tensor, openings: Sequence[int]) -> torch.Tensor:
    """What the head says of each row, (B, C): the first half of its outputs at the first mark, the rest at the
    second."""
    rows = torch.arange(len(ids_BL), device=ids_BL.device)
    first, second = ((ids_BL == opening).int().argmax(dim=1) for opening in openings)
    classes = outputs_BLT.shape[-1] // len(openings)
    return outputs_BLT[rows, first, :classes] + outputs_BLT[rows, second, classes:]


def pair_weights(
    objective: RelationClassification, relations: Relations, found: LabelsSummary | None
) -> list[float] | None:
    """The weight of each class; `found` on the training side, where a class that does not occur weighs 1.

    >>> from runjob.schemas.job_model import Pairs
    >>> every = Pairs(types=None, max_distance=None, no_relation=1.0)
    >>> job = RelationClassification(
    ...     kind="relation_classification", labels=("PART_OF",), pairs=every, class_weights="balanced")
    >>> pair_weights(job, Relations(labels=("PART_OF",)), LabelsSummary(counts=(90, 10), spans=0, unmet=0))
    [0.5555555555555556, 5.0]
    """
    match objective.class_weights:
        case None:
            return None
        case "balanced":
            assert found is not None, "a store of this objective has labels"
            total, classes = sum(found.counts), len(found.counts)
            return [total / (classes * count) if count else 1.0 for count in found.counts]
        case given:
            return [given[name] if name in given else 1.0 for name in (UNRELATED, *relations.labels)]  # noqa: SIM401
