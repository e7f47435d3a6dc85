"""Packed rows with documents apart equal each document alone in a row, in every family that may pack."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedModel,
)

from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.document_attention import check_documents_apart, documents_apart
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.schemas.errors import JobError

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY, LENGTH = 97, 48
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
# three rows: documents of many lengths, some longer than ModernBERT's window of 4 on each side, some of one token
ROWS = [[7, 1, 20, 12, 8], [48], [3, 3, 1, 1, 30]]


def gpt2() -> PreTrainedModel:
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=3, n_head=4)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def bert() -> PreTrainedModel:
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **SIZES)
    return AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")


def modernbert() -> PreTrainedModel:
    config = ModernBertConfig(
        vocab_size=VOCABULARY, max_position_embeddings=LENGTH, local_attention=8, pad_token_id=0, **SIZES
    )
    assert set(config.layer_types) == {"full_attention", "sliding_attention"}
    return AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")


def mpnet() -> PreTrainedModel:
    config = MPNetConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH + 2, **SIZES)
    return AutoModelForMaskedLM.from_config(config, attn_implementation="eager")


def eager_bert() -> PreTrainedModel:
    network = bert()
    network.set_attn_implementation("eager")
    return network


FAMILIES: list[Callable[[], PreTrainedModel]] = [gpt2, bert, modernbert, mpnet, eager_bert]


def build(family: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    torch.manual_seed(1)
    network = family().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)  # fresh weights see next to nothing of their neighbours
    return network


def nats(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_packed_with_documents_apart_equals_each_document_alone(family: Callable[[], PreTrainedModel]) -> None:
    network = build(family)
    ids = torch.randint(2, VOCABULARY, (len(ROWS), LENGTH))
    labels = torch.where(torch.rand(ids.shape) < 0.4, torch.randint(2, VOCABULARY, ids.shape), IGNORED)
    filler = LENGTH - sum(ROWS[2])
    ids[2, -filler:], labels[2, -filler:] = 0, IGNORED
    places = [[place for size in row for place in range(size)] for row in ROWS]
    positions = torch.tensor([row + [0] * (LENGTH - len(row)) for row in places])

    packed = nats(network(input_ids=ids, **documents_apart(network, positions)).logits, labels)
    alone = 0.0
    for number, row in enumerate(ROWS):
        ends = torch.tensor(row).cumsum(0).tolist()
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            alone += nats(network(input_ids=ids[number : number + 1, start:end]).logits, labels[number, start:end])
    assert packed == pytest.approx(alone, rel=1e-5)
    mixed = nats(network(input_ids=ids).logits, labels)
    assert abs(mixed / alone - 1) > 1e-3  # seen across documents, it is another loss


@torch.no_grad()
def test_the_causal_objective_keeps_documents_apart_where_it_is_told_where_they_begin() -> None:
    objective = CausalLMObjective(build(gpt2))
    ids = torch.randint(2, VOCABULARY, (1, 12))
    labels = torch.randint(2, VOCABULARY, (1, 12))
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 4]])
    apart = objective(input_ids=ids, labels=labels, position_ids=positions)
    alone = [
        objective(input_ids=ids[:, start:end], labels=labels[:, start:end]) for start, end in ((0, 5), (5, 7), (7, 12))
    ]
    assert apart.loss_sum.item() == pytest.approx(sum(one.loss_sum.item() for one in alone), rel=1e-5)
    assert int(apart.predicted) == 12


@torch.no_grad()
@pytest.mark.parametrize("family", [bert, modernbert, mpnet], ids=lambda family: family.__name__)
def test_the_masked_objective_keeps_documents_apart_too(family: Callable[[], PreTrainedModel]) -> None:
    objective = MaskedLMObjective(build(family))
    ids, labels = torch.randint(2, VOCABULARY, (2, 1, 12)).unbind()
    labels[:, ::3] = IGNORED
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 4]])
    apart = objective(input_ids=ids, labels=labels, position_ids=positions)
    alone = [
        objective(input_ids=ids[:, start:end], labels=labels[:, start:end]) for start, end in ((0, 5), (5, 7), (7, 12))
    ]
    assert apart.loss_sum.item() == pytest.approx(sum(one.loss_sum.item() for one in alone), rel=1e-5)
    assert int(apart.predicted) == 8


def test_a_family_that_can_not_is_refused_by_name() -> None:
    config = DebertaV2Config(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **SIZES)
    with pytest.raises(JobError, match=r"data\.attention: document is possible for gpt2, bert.*family deberta-v2"):
        check_documents_apart(AutoModelForMaskedLM.from_config(config))
    check_documents_apart(bert())
