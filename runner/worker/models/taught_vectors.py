"""What the loop trains for `objective: {kind: sentence_embedding, loss: mse}`: an encoder whose vector of a text is to
be its teacher's (Reimers and Gurevych 2020, section 3; sentence-transformers' MSELoss).

    loss of a text    mean over the D numbers of (student - teacher)^2
    of a row          of its text, or the mean of its two: equation 1 has both
    of a step         the sum over rows by their number, which is that over texts by theirs

A student of another width than its teacher's gets a layer behind its vector (dense.py). The teacher is asked and not
trained: it is no part of the module, so neither the engine nor a checkpoint knows of it.

Legend: B rows, T texts, L tokens of the longest, H the student's width, D the teacher's.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.models.dense import through_dense
from runjob.runner.worker.models.document_attention import seen_by
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.models.text_vectors import Texts, apart, found_in, pooled
from runjob.schemas.job_model import SentenceEmbedding


@dataclass(kw_only=True)
class Teacher:
    """An encoder in fp32, frozen, and what of its last layer is a text's vector."""

    network: PreTrainedModel
    pooling: str

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        return int(self.network.config.hidden_size)

    @property
    def sha256(self) -> str:
        """Of its weights as they were read: every tensor's name and bytes, in the order of the names."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.network.named_parameters()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().numpy())
        return digest.hexdigest()

    @torch.no_grad()
    def vectors(self, texts: Texts) -> torch.Tensor:
        """(T, D), in fp32."""
        if self.network.device != texts.ids_TL.device:
            self.network.to(texts.ids_TL.device)
        states_TLD = self.network(
            input_ids=texts.ids_TL, **seen_by(self.network, texts.mask_TL, None)
        ).last_hidden_state
        return pooled(states_TLD.float(), texts.mask_TL, self.pooling)


class TaughtVectorsObjective(nn.Module):
    """`labels` are the row's number at one place, -100 elsewhere: where `pairs` are read, where the second text begins.
    Parameter names are `network.` plus those of transformers, and of the layer behind them."""

    def __init__(
        self, network: PreTrainedModel, objective: SentenceEmbedding, teacher: Teacher, *, pairs: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.teacher = teacher
        self.pairs = pairs

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Answer:
        texts = apart(input_ids, labels, attention_mask) if self.pairs else alone(input_ids, attention_mask)
        wanted_TD = self.teacher.vectors(texts)
        states_TLH = self.network(
            input_ids=texts.ids_TL, **seen_by(self.network, texts.mask_TL, None)
        ).last_hidden_state
        with torch.autocast(input_ids.device.type, enabled=False):
            vectors_TH = pooled(states_TLH.float(), texts.mask_TL, self.objective.pooling)
            vectors_TD = through_dense(self.network, vectors_TH)
            errors_T = (vectors_TD - wanted_TD).square().mean(dim=1)
        number_B = labels.max(dim=1).values  # a row that asks nothing keeps -100
        asked_B = number_B != IGNORED
        each_B = errors_T.view(-1, len(asked_B)).mean(dim=0)
        searched = self.pairs and not self.training
        found = found_in(F.normalize(vectors_TD, dim=-1), number_B) if searched else None
        return Answer((each_B * asked_B).sum(dtype=torch.float64), asked_B.sum(), found=found)


def alone(ids_BL: torch.Tensor, mask_BL: torch.Tensor | None) -> Texts:
    """Rows of one text, as they are."""
    return Texts(ids_BL, torch.ones_like(ids_BL) if mask_BL is None else mask_BL)
