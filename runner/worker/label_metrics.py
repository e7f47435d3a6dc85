"""What is measured of predicted labels: entities by precision, recall and F1, tokens by accuracy, and which label was
taken for which.

An entity is right where its first token, its last one and its label are those of the data, as CoNLL-2002 counts (Tjong
Kim Sang 2002, section 3); what tags say is read to the letter (data/labels.py). Everything is a number of tokens or of
entities until it has been added up over all rows and ranks, so it is the same for any number of them. Where nothing is
asked (the tokenizer's marks, spans that no token boundary meets) a prediction counts as O.
"""

from dataclasses import dataclass

import torch

from runjob.data.labels import Tags
from runjob.runner.worker.metrics import Metrics
from runjob.schemas.tags import NOTHING

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Tokens by the label that they have (rows) and the one that was said (columns); the first is O."""

    labels: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]


def tally_tags(labels_BL: torch.Tensor, said_BL: torch.Tensor, tags: Tags) -> torch.Tensor:
    """Numbers that can be added up, int64: tokens asked, tokens with the right tag; for each label entities found
    right, entities said, entities there; the confusion of labels, row by row."""
    asked = (labels_BL != IGNORED).cpu().numpy()
    wanted, said = labels_BL.cpu().numpy().clip(min=0), said_BL.cpu().numpy() * asked
    kinds = len(tags.labels) + 1
    pairs = tags.kinds(wanted[asked]) * kinds + tags.kinds(said[asked])
    right, predicted, there = ([0] * len(tags.labels) for _ in range(3))
    for row_wanted, row_said in zip(wanted, said, strict=True):
        gold, found = set(tags.spans(row_wanted.tolist())), set(tags.spans(row_said.tolist()))
        for counts, spans in ((right, gold & found), (predicted, found), (there, gold)):
            for _, _, label in spans:
                counts[label] += 1
    tokens = [int(asked.sum()), int((wanted == said)[asked].sum())]
    confusion = torch.bincount(torch.from_numpy(pairs), minlength=kinds**2)
    return torch.cat([torch.tensor([*tokens, *right, *predicted, *there], dtype=torch.int64), confusion])


def tag_metrics(tally: torch.Tensor, tags: Tags) -> tuple[Metrics, Confusion]:
    """`precision`, `recall` and `f1` over all entities (micro), `f1/LABEL` and so on of each label, and `accuracy` of
    tokens by their tags. None where there is nothing to measure it on."""
    count, kinds = len(tags.labels), len(tags.labels) + 1
    asked, accurate, *rest = tally.tolist()
    right, predicted, there = (rest[place * count : (place + 1) * count] for place in range(3))
    metrics = ratios("", sum(right), sum(predicted), sum(there))
    for number, label in enumerate(tags.labels):
        metrics |= ratios(f"/{label}", right[number], predicted[number], there[number])
    metrics["accuracy"] = accurate / asked if asked else None
    flat = rest[3 * count :]
    rows = tuple(tuple(flat[row * kinds : (row + 1) * kinds]) for row in range(kinds))
    return metrics, Confusion(labels=(NOTHING, *tags.labels), tokens=rows)


def ratios(ending: str, right: int, predicted: int, there: int) -> Metrics:
    """
    >>> ratios("/TIME", 2, 4, 5)
    {'f1/TIME': 0.4444444444444444, 'precision/TIME': 0.5, 'recall/TIME': 0.4}
    """
    return {
        f"f1{ending}": 2 * right / (predicted + there) if predicted + there else None,
        f"precision{ending}": right / predicted if predicted else None if not there else 0.0,
        f"recall{ending}": right / there if there else None,
    }
