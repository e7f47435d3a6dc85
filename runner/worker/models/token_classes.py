"""What the loop trains for `objective: token_classification`: a network of transformers with a head for each token. It
answers with a summed loss and a count, and while it is evaluated with a tally of what it says.

The loss of a token is its cross-entropy times the weight of its label, and what the loop divides by is the number of
tokens, not the sum of their weights: that number is known before the first backward pass, over all ranks.

Legend: B rows, L tokens of the longest, T tags.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.data.label_counts import LabelsSummary
from runjob.data.labels import Tags
from runjob.runner.worker.label_metrics import tally_tags
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.schemas.errors import JobError
from runjob.schemas.job_model import TokenClassification
from runjob.schemas.tags import NOTHING

FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert", "mpnet")


def check_token_family(network: PreTrainedModel) -> None:
    """JobError for a network whose head we do not know."""
    if network.config.model_type not in FAMILIES:
        said = f"this objective knows the families {', '.join(FAMILIES)}"
        raise JobError(f"model.init.path: {said}, not {network.config.model_type}")


class TokenClassesObjective(nn.Module):
    """`labels` are numbers of tags, -100 where nothing is asked. Parameter names are `network.` plus those of
    transformers."""

    def __init__(self, network: PreTrainedModel, tags: Tags, weights: Sequence[float] | None) -> None:
        super().__init__()
        self.network = network
        self.tags = tags
        self.weights = weights

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        logits_BLT = self.network(input_ids=input_ids, **seen_by(self.network, attention_mask, None)).logits
        # fp32 before the softmax: in bf16 a loss of 3 is known to 0.016
        each = F.cross_entropy(
            logits_BLT.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        if self.weights is not None:
            weights_T = torch.tensor(self.weights, dtype=each.dtype, device=each.device)
            each = each * weights_T[labels.flatten().clamp(min=0)]
        tally = None if self.training else tally_tags(labels, logits_BLT.argmax(-1), self.tags)
        # in float64: however a global batch is cut into micro batches, the sum is the same to 1e-12
        return Answer(each.sum(dtype=torch.float64), (labels != IGNORED).sum(), tally=tally)


def weights_of(objective: TokenClassification, tags: Tags, found: LabelsSummary | None) -> list[float] | None:
    """The weight of each tag: that of its label. `found` on the training side; a label that does not occur there weighs
    1, which no step of training will see.

    >>> tags = Tags(labels=("TAXON",), scheme="BIO")
    >>> kind = "token_classification"
    >>> job = TokenClassification(kind=kind, labels=("TAXON",), scheme="BIO", class_weights="balanced")
    >>> weights_of(job, tags, LabelsSummary(counts=(90, 4, 6), spans=4, unmet=0))
    [0.5555555555555556, 5.0, 5.0]
    """
    kinds = tags.kinds(torch.arange(len(tags.names)).numpy()).tolist()
    match objective.class_weights:
        case None:
            return None
        case "balanced":
            assert found is not None, "a store of this objective has labels"
            counts = [0] * (1 + len(tags.labels))
            for kind, count in zip(kinds, found.counts, strict=True):
                counts[kind] += count
            there = sum(count > 0 for count in counts)
            each = [sum(counts) / (there * count) if count else 1.0 for count in counts]
        case given:
            each = [given[name] if name in given else 1.0 for name in (NOTHING, *tags.labels)]  # noqa: SIM401
    return [each[kind] for kind in kinds]
