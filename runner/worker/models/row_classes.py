"""What a head answers that says one thing of a row, whatever it says it of: a document (document_classes.py) or a pair
of spans in one (pair_classes.py).

The loss of a row is its cross-entropy times the weight of its class, and what the loop divides by is the number of
rows that ask something, not the sum of their weights: that number is known before the first backward pass, over all
ranks.

Legend: B rows, L tokens of the longest, C classes.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from runjob.data.classes import Classes
from runjob.data.label_counts import LabelsSummary
from runjob.data.pairs import Relations
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.row_metrics import tally_rows
from runjob.schemas.job_model import RelationClassification, SequenceClassification


def row_answer(
    logits_BC: torch.Tensor, labels_BL: torch.Tensor, *, weights: Sequence[float] | None, training: bool
) -> Answer:
    """`labels_BL`: one number of a class in each row, -100 elsewhere, and everywhere in a row that asks nothing."""
    logits_BC = logits_BC.float()  # before the softmax: in bf16 a loss of 3 is known to 0.016
    wanted_B = labels_BL.max(dim=1).values
    each = F.cross_entropy(logits_BC, wanted_B, ignore_index=IGNORED, reduction="none")
    if weights is not None:
        weights_C = torch.tensor(weights, dtype=each.dtype, device=each.device)
        each = each * weights_C[wanted_B.clamp(min=0)]
    tally = None if training else tally_rows(labels_BL, logits_BC.argmax(-1), classes=logits_BC.shape[1])
    # in float64: however a global batch is cut into micro batches, the sum is the same to 1e-12
    return Answer(each.sum(dtype=torch.float64), (wanted_B != IGNORED).sum(), tally=tally)


def row_weights(
    objective: RelationClassification | SequenceClassification,
    classes: Relations | Classes,
    found: LabelsSummary | None,
) -> list[float] | None:
    """The weight of each class; `found` on the training side, where a class that does not occur weighs 1.

    >>> job = SequenceClassification(kind="sequence_classification", labels=("a", "b"), class_weights="balanced")
    >>> row_weights(job, Classes(labels=job.labels), LabelsSummary(counts=(90, 10), spans=0, unmet=0))
    [0.5555555555555556, 5.0]
    """
    match objective.class_weights:
        case None:
            return None
        case "balanced":
            assert found is not None, "a store of this objective has labels"
            total, count = sum(found.counts), len(found.counts)
            return [total / (count * each) if each else 1.0 for each in found.counts]
        case given:
            return [given[name] if name in given else 1.0 for name in classes.names]  # noqa: SIM401
