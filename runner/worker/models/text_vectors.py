"""What the loop trains for `objective: sentence_embedding`: the body of an encoder, whose last layer becomes one vector
for a text, and a loss by which that vector is nearer to its own target's than to those of its group.

    cosines of a group of 3       p1   p2   p3        each row is a softmax over cosine / temperature, and the loss
                            a1    x    .    .         is that of the diagonal (Henderson et al. 2017, section 4.4;
                            a2    .    x    .         van den Oord et al. 2018). Left out are wrong targets that are
                            a3    .    .    x         none: the same text, or the target of the same anchor.

Which rows are a group is a matter of their place in the order of training (data/cut.py), so the loss of a step is the
same for any number of ranks and micro batches.

Legend: B rows of two texts, G rows of a group, T = 2 B texts, L tokens of the longest, H width.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models.causal_lm import Answer, Found
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.schemas.job_model import SentenceEmbedding

# The first so many rows of a side are asked and searched: 10,000 of 768 numbers are 60 MB and a second of one core
CANDIDATES = 10_000


class Texts(NamedTuple):
    """The texts of B rows apart: all anchors, then all targets; `mask` is 1 where a token stands."""

    ids_TL: torch.Tensor
    mask_TL: torch.Tensor


class TextVectorsObjective(nn.Module):
    """`labels` are the row's number where its second text begins, -100 elsewhere. Parameter names are `network.` plus
    those of transformers."""

    def __init__(self, network: PreTrainedModel, objective: SentenceEmbedding) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        texts = apart(input_ids, labels, attention_mask)
        states_TLH = self.network(
            input_ids=texts.ids_TL, **seen_by(self.network, texts.mask_TL, None)
        ).last_hidden_state
        # cosines over 0.05 are numbers up to 20, of which bf16 knows two digits
        with torch.autocast(input_ids.device.type, enabled=False):
            vectors_TH = F.normalize(pooled(states_TLH.float(), texts.mask_TL, self.objective.pooling), dim=-1)
            wanted_B = labels.max(dim=1).values  # a row that asks nothing keeps -100
            asked_B = wanted_B != IGNORED
            objective = self.objective
            each_B = group_losses(vectors_TH, texts, asked_B, group=objective.group, temperature=objective.temperature)
        found = None if self.training else found_in(vectors_TH, wanted_B)
        return Answer((each_B * asked_B).sum(dtype=torch.float64), asked_B.sum(), found=found)


def apart(ids_BW: torch.Tensor, labels_BW: torch.Tensor, mask_BW: torch.Tensor | None) -> Texts:
    """Both texts of every row, filled up on their right. (How wide they are has to be known here, for which a GPU is
    waited for; without it half of what is computed would be padding.)

    >>> texts = apart(torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[-100, -100, 7, -100, -100]]), None)
    >>> texts.ids_TL.tolist(), texts.mask_TL.tolist()
    ([[1, 2, 0], [3, 4, 5]], [[1, 1, 0], [1, 1, 1]])
    """
    width = ids_BW.shape[1]
    ends_B = torch.full_like(ids_BW[:, 0], width) if mask_BW is None else mask_BW.sum(dim=1)
    # an idle row has no label: any cut will do that leaves no text empty
    second_B = (labels_BW != IGNORED).int().argmax(dim=1).clamp(min=1)
    begins_T, behind_T = torch.cat([torch.zeros_like(second_B), second_B]), torch.cat([second_B, ends_B])
    longest = int((behind_T - begins_T).max())
    places_TL = begins_T[:, None] + torch.arange(longest, device=ids_BW.device)
    mask_TL = places_TL < behind_T[:, None]
    ids_TL = ids_BW.repeat(2, 1).gather(1, places_TL.clamp(max=width - 1)) * mask_TL
    return Texts(ids_TL, mask_TL.long())


def pooled(states_TLH: torch.Tensor, mask_TL: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a text (T, H), as sentence-transformers' Pooling has it."""
    if pooling == "cls":
        return states_TLH[:, 0]
    weights_TL1 = mask_TL[:, :, None].to(states_TLH.dtype)
    return (states_TLH * weights_TL1).sum(dim=1) / weights_TL1.sum(dim=1)


def group_losses(
    vectors_TH: torch.Tensor, texts: Texts, asked_B: torch.Tensor, *, group: int, temperature: float
) -> torch.Tensor:
    """Of every row (B), in nats; rows are groups in their order, the last of which may be smaller. A row that is not
    `asked` fills a batch up and is nobody's wrong answer."""
    anchors_BH, targets_BH = vectors_TH.chunk(2)
    numbers_B = torch.arange(len(anchors_BH), device=vectors_TH.device)
    together_BB = numbers_B[:, None] // group == numbers_B[None, :] // group
    # what fills a text up is no token: 0 is one, and two texts may differ in it alone
    ids_TL = texts.ids_TL.masked_fill(texts.mask_TL == 0, -1)
    anchors, targets = (_alike(ids) for ids in ids_TL.chunk(2))
    own_BB = numbers_B[:, None] == numbers_B[None, :]
    counted_BB = together_BB & (own_BB | (asked_B[None, :] & ~(anchors | targets)))
    scores_BB = (anchors_BH @ targets_BH.T / temperature).masked_fill(~counted_BB, -torch.inf)
    return F.cross_entropy(scores_BB, numbers_B, reduction="none")


def _alike(ids_BL: torch.Tensor) -> torch.Tensor:
    """Which of these texts are the same (B, B); that of an idle row is one like all others."""
    numbers_B: torch.Tensor = torch.unique(ids_BL, dim=0, return_inverse=True)[1]
    return numbers_B[:, None] == numbers_B[None, :]


def found_in(vectors_TH: torch.Tensor, wanted_B: torch.Tensor) -> Found:
    """The vectors of the rows that were asked about and are searched, in main memory."""
    asked_B = (wanted_B != IGNORED) & (wanted_B < CANDIDATES)
    pairs_B2H = torch.stack(vectors_TH.chunk(2), dim=1)
    return Found(rows=wanted_B[asked_B].cpu(), vectors=pairs_B2H[asked_B].cpu())
