"""What is measured of vectors of texts: whether a text finds its own target among all of the validation side.

Every anchor is compared with every target by cosine; its place is 1 plus how many others are as near as its own. Left
out are targets that are as right: the same text, or another target of the same anchor. One that is as near counts
against it, so that a network that says the same of all texts finds nothing.

    recall_at_k    share of anchors whose place is at most k
    mrr            mean of 1 / place (Voorhees 1999)
    ndcg_at_10     mean of 1 / log2(1 + place) up to place 10, 0 beyond (Järvelin and Kekäläinen 2002, of one answer)

Counted are places, whole numbers, from vectors that are the same for any number of ranks, in blocks of the same rows;
so the metrics are the same too.
"""

import math
from functools import cached_property

import torch

from runjob.data.text_pair_rows import TextPairRows
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.metrics import Metrics
from runjob.runner.worker.models.causal_lm import Found
from runjob.runner.worker.models.text_vectors import CANDIDATES

# Rows that are compared at once
BLOCK = 256
RECALLS = (1, 5, 10)
DEPTH = 10


class Retrieval:
    """The rows of a side, and which of their texts are the same."""

    def __init__(self, rows: TextPairRows) -> None:
        self.rows = rows

    @cached_property
    def same(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A number for each anchor and each target, equal where the tokens are."""
        seen: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
        numbers: tuple[list[int], list[int]] = ([], [])
        for number in range(min(len(self.rows), CANDIDATES)):
            for place, text in enumerate(self.rows.texts(number)):
                numbers[place].append(seen[place].setdefault(text.tobytes(), len(seen[place])))
        return torch.tensor(numbers[0]), torch.tensor(numbers[1])

    def measure(self, found: list[Found], exchange: Exchange) -> Metrics:
        """Of what this rank's rows became, and those of all others. Collective."""
        mine = Found(torch.cat([one.rows for one in found]), torch.cat([one.vectors for one in found]))
        # numbers of rows below 2^24 are exact in fp32
        flat = torch.cat([mine.rows.float()[:, None], mine.vectors.flatten(1)], dim=1)
        every = exchange.joined(flat)
        order = every[:, 0].argsort()
        anchors, targets = every[order, 1:].view(len(every), 2, -1).unbind(1)
        rows = every[order, 0].long()
        same_anchor, same_target = (numbers[rows] for numbers in self.same)
        counts = torch.zeros(len(rows) + 1, dtype=torch.int64)
        for block in range(exchange.rank * BLOCK, len(rows), exchange.ranks * BLOCK):
            asked = torch.arange(block, min(block + BLOCK, len(rows)))
            alike = (same_anchor[asked, None] == same_anchor) | (same_target[asked, None] == same_target)
            counts += torch.bincount(
                places(anchors[asked].contiguous(), targets, own=asked, alike=alike), minlength=len(counts)
            )
        return metrics_of(exchange.summed(counts))


def places(
    anchors_QH: torch.Tensor, targets_NH: torch.Tensor, *, own: torch.Tensor, alike: torch.Tensor
) -> torch.Tensor:
    """From 1, of each anchor (Q): `own` is the number of its target, `alike` (Q, N) is true of those that don't
    count.

    >>> anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> targets = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    >>> places(anchors, targets, own=torch.arange(2), alike=torch.eye(2, dtype=torch.bool)).tolist()
    [1, 1]
    >>> places(torch.ones(2, 2), torch.ones(2, 2), own=torch.arange(2), alike=torch.eye(2, dtype=torch.bool)).tolist()
    [2, 2]
    """
    scores_QN = anchors_QH @ targets_NH.T
    mine_Q1 = scores_QN.gather(1, own[:, None])
    return 1 + (~(scores_QN < mine_Q1) & ~alike).sum(dim=1)  # what is no number is as near as can be


def metrics_of(counts: torch.Tensor) -> Metrics:
    """`counts` of anchors by their place, from 0.

    >>> metrics_of(torch.tensor([0, 1, 0, 1]))
    {'recall_at_1': 0.5, 'recall_at_5': 1.0, 'recall_at_10': 1.0, 'mrr': 0.6666666666666666, 'ndcg_at_10': 0.75}
    """
    every = counts.tolist()
    total = sum(every)
    return {
        **{f"recall_at_{k}": sum(every[1 : k + 1]) / total for k in RECALLS},
        "mrr": sum(count / place for place, count in enumerate(every) if place) / total,
        "ndcg_at_10": sum(count / math.log2(1 + place) for place, count in enumerate(every[: DEPTH + 1]) if place)
        / total,
    }
