"""What is measured of rows of which one thing is said. Everything is a number of rows until it has been added up over
all rows and ranks.

- Relations: precision, recall and F1 of those that there are, without NO_RELATION, as is usual (Zhang et al. 2017,
  section 5), over all of them (micro) and as the mean over labels (macro).
- Documents: the share that is right, and F1 as the mean over classes; their micro F1 would be that share again.
"""

from collections.abc import Sequence

import torch

from runjob.data.classes import Classes
from runjob.data.pairs import Relations
from runjob.runner.worker.label_metrics import IGNORED, Confusion, ratios
from runjob.runner.worker.metrics import Metrics


def tally_rows(labels_BL: torch.Tensor, said_B: torch.Tensor, *, classes: int) -> torch.Tensor:
    """Rows by the class that they have and the one that was said, row by row: numbers that add up, int64. Nothing is
    counted of a row that asks nothing."""
    wanted_B = labels_BL.max(dim=1).values.cpu()
    asked_B = wanted_B != IGNORED
    return torch.bincount(wanted_B[asked_B] * classes + said_B.cpu()[asked_B], minlength=classes**2)


def pair_metrics(tally: torch.Tensor, relations: Relations) -> tuple[Metrics, Confusion]:
    """`f1`, `precision` and `recall` (micro) without NO_RELATION, `f1_macro` over the labels that stand there or were
    said, `f1/LABEL` and so on, and `accuracy` of all pairs. None where there is nothing to measure it on."""
    metrics, confusion = _of_each(tally, relations.names, first=1)
    table = tally.view(len(relations.names), len(relations.names))
    right, there, said = table.diagonal().tolist(), table.sum(1).tolist(), table.sum(0).tolist()
    return ratios("", sum(right[1:]), sum(said[1:]), sum(there[1:])) | metrics, confusion


def document_metrics(tally: torch.Tensor, classes: Classes) -> tuple[Metrics, Confusion]:
    """`accuracy`, `f1_macro` over the classes that stand there or were said, and `f1/CLASS`, `precision/CLASS` and
    `recall/CLASS` of each. None where there is nothing to measure it on."""
    return _of_each(tally, classes.names, first=0)


def _of_each(tally: torch.Tensor, names: Sequence[str], *, first: int) -> tuple[Metrics, Confusion]:
    """Of each class from the `first` on, their mean, and the share of all rows that is right."""
    table = tally.view(len(names), len(names))
    right, there, said = table.diagonal().tolist(), table.sum(1).tolist(), table.sum(0).tolist()
    metrics: Metrics = {}
    each: list[float] = []
    for number in range(first, len(names)):
        metrics |= ratios(f"/{names[number]}", right[number], said[number], there[number])
        f1 = metrics[f"f1/{names[number]}"]
        each += [] if f1 is None else [f1]
    metrics["f1_macro"] = sum(each) / len(each) if each else None
    metrics["accuracy"] = sum(right) / sum(there) if sum(there) else None
    return metrics, Confusion(labels=tuple(names), tokens=tuple(tuple(row) for row in table.tolist()))
