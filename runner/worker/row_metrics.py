"""What is measured of predicted relations: precision, recall and F1 of those that there are, without NO_RELATION, as is
usual (Zhang et al. 2017, section 5), over all of them (micro) and as the mean over labels (macro). Everything is a
number of pairs until it has been added up over all rows and ranks.
"""

import torch

from runjob.data.pairs import Relations
from runjob.runner.worker.label_metrics import IGNORED, Confusion, ratios
from runjob.runner.worker.metrics import Metrics


def tally_pairs(labels_BL: torch.Tensor, said_B: torch.Tensor, relations: Relations) -> torch.Tensor:
    """Pairs by the class that they have and the one that was said, row by row: numbers that add up, int64. Nothing is
    counted of a row that asks nothing."""
    classes = len(relations.names)
    wanted_B = labels_BL.max(dim=1).values.cpu()
    asked_B = wanted_B != IGNORED
    return torch.bincount(wanted_B[asked_B] * classes + said_B.cpu()[asked_B], minlength=classes**2)


def pair_metrics(tally: torch.Tensor, relations: Relations) -> tuple[Metrics, Confusion]:
    """`f1`, `precision` and `recall` (micro) without NO_RELATION, `f1_macro` over the labels that stand there or were
    said, `f1/LABEL` and so on, and `accuracy` of all pairs. None where there is nothing to measure it on."""
    names = relations.names
    table = tally.view(len(names), len(names))
    right, there, said = table.diagonal().tolist(), table.sum(1).tolist(), table.sum(0).tolist()
    metrics = ratios("", sum(right[1:]), sum(said[1:]), sum(there[1:]))
    each: list[float] = []
    for number, name in enumerate(names[1:], 1):
        metrics |= ratios(f"/{name}", right[number], said[number], there[number])
        f1 = metrics[f"f1/{name}"]
        each += [] if f1 is None else [f1]
    metrics["f1_macro"] = sum(each) / len(each) if each else None
    metrics["accuracy"] = sum(right) / sum(there) if sum(there) else None
    return metrics, Confusion(labels=names, tokens=tuple(tuple(row) for row in table.tolist()))
