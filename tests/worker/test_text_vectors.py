"""Vectors of texts: the loss against its definition, text by text, and what is measured of a search."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import (
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from runjob.runner.worker.models.body import AutoBody
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.models.loading import attention_of
from runjob.runner.worker.models.text_vectors import TextVectorsObjective, apart, pooled
from runjob.runner.worker.retrieval import metrics_of, places
from runjob.schemas.job_model import SentenceEmbedding

JOB = SentenceEmbedding(kind="sentence_embedding", loss="contrastive", temperature=0.05, pooling="mean", group=3)
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 1,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "mpnet": MPNetConfig(**SIZES),
    "deberta-v2": DebertaV2Config(**SIZES),
    "modernbert": ModernBertConfig(**SIZES, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3),
}
# Anchor and target of six rows; the second and third have one target, the fourth and sixth one anchor
TEXTS = [
    ([4, 5], [6, 7, 8]),
    ([9], [10, 11]),
    ([12, 13, 14], [10, 11]),
    ([15], [16]),
    ([17, 18], [19, 20, 21, 22]),
    ([15], [23, 24]),
]


def body(family: str) -> PreTrainedModel:
    config = CONFIGS[family]
    torch.manual_seed(1)
    return AutoBody.from_config(config, dtype=torch.float32, attn_implementation=attention_of(config)).eval()


def batch(texts: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """As data/batches.py fills rows up."""
    width = max(len(first) + len(second) for first, second in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, (first, second) in enumerate(texts):
        ids[row, : len(first) + len(second)] = torch.tensor([*first, *second])
        mask[row, : len(first) + len(second)] = 1
        labels[row, len(first)] = row
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@torch.no_grad()
def vector(network: PreTrainedModel, text: list[int], pooling: str) -> torch.Tensor:
    states = network(torch.tensor([text])).last_hidden_state[0]
    return F.normalize(states.mean(0) if pooling == "mean" else states[0], dim=0)


def expected(network: PreTrainedModel, job: SentenceEmbedding) -> list[float]:
    """The loss of each row, by its definition; a wrong target that is none is left out."""
    losses = []
    for row, (anchor, target) in enumerate(TEXTS):
        first = row // job.group * job.group
        scores = {}
        for other in range(first, min(first + job.group, len(TEXTS))):
            if other == row or (TEXTS[other][0] != anchor and TEXTS[other][1] != target):
                near = vector(network, anchor, job.pooling) @ vector(network, TEXTS[other][1], job.pooling)
                scores[other] = float(near) / job.temperature
        losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[row])
    return losses


@pytest.mark.parametrize("family", list(CONFIGS))
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_loss_is_that_of_texts_read_one_by_one(family, pooling):
    network, job = body(family), dataclasses.replace(JOB, pooling=pooling)
    with torch.no_grad():
        answer = TextVectorsObjective(network, job).eval()(**batch(TEXTS))
    assert float(answer.loss_sum) == pytest.approx(sum(expected(network, job)), rel=2e-4)
    assert int(answer.predicted) == 6
    assert answer.found.rows.tolist() == list(range(6))
    for (anchor, target), (first, second) in zip(TEXTS, answer.found.vectors, strict=True):
        assert torch.allclose(first, vector(network, anchor, pooling), atol=1e-5)
        assert torch.allclose(second, vector(network, target, pooling), atol=1e-5)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_every_weight_of_the_body_learns(family):
    network = body(family)
    TextVectorsObjective(network, JOB).train()(**batch(TEXTS)).loss_sum.backward()
    still = {name for name, weight in network.named_parameters() if weight.grad is None}
    # 12 and more positions that nobody stands at have a gradient of nought, no weight has none
    assert not still
    assert not any("pooler" in name for name, _ in network.named_parameters())


@pytest.mark.parametrize("group", [2, 3, 6])
def test_groups_lose_the_same_in_one_micro_batch_and_in_several(group):
    module = TextVectorsObjective(body("bert"), dataclasses.replace(JOB, group=group)).eval()
    with torch.no_grad():
        whole = module(**batch(TEXTS))
        parts = [module(**batch(TEXTS[first : first + group])) for first in range(0, 6, group)]
    assert sum(float(part.loss_sum) for part in parts) == pytest.approx(float(whole.loss_sum), rel=1e-5)
    assert sum(int(part.predicted) for part in parts) == 6


def test_a_row_that_asks_nothing_counts_for_nothing():
    module, idle = TextVectorsObjective(body("bert"), JOB).eval(), batch(TEXTS[:1])
    idle["labels"].fill_(IGNORED)
    with torch.no_grad():
        answer = module(**idle)
    assert (float(answer.loss_sum), int(answer.predicted)) == (0.0, 0)
    assert answer.found.vectors.shape == (0, 2, 16)
    assert module.train()(**batch(TEXTS)).found is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=5))
def test_texts_come_apart_as_they_were_put_together(lengths):
    texts = [([1 + row] * a, [9 + row] * b) for row, (a, b) in enumerate(lengths)]
    tensors = batch(texts)
    found = apart(tensors["input_ids"], tensors["labels"], tensors["attention_mask"])
    every = [first for first, _ in texts] + [second for _, second in texts]
    assert [ids[mask.bool()].tolist() for ids, mask in zip(*found, strict=True)] == every
    assert not (found.ids_TL * (1 - found.mask_TL)).any()
    ones = pooled(torch.ones(*found.ids_TL.shape, 2), found.mask_TL, "mean")
    assert torch.equal(ones, torch.ones_like(ones))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31 - 1))
def test_places_and_metrics_are_those_of_a_sorted_list(count, seed):
    generator = torch.Generator().manual_seed(seed)
    anchors, targets = (torch.randint(-2, 3, (count, 3), generator=generator).float() for _ in range(2))
    alike = torch.eye(count, dtype=torch.bool) | (torch.rand(count, count, generator=generator) < 0.1)
    found = places(anchors, targets, own=torch.arange(count), alike=alike)
    scores = (anchors @ targets.T).tolist()
    for row in range(count):
        others = [scores[row][other] for other in range(count) if not alike[row, other]]
        ranked = sorted([*others, scores[row][row]], reverse=True)
        assert int(found[row]) == len(ranked) - ranked[::-1].index(scores[row][row])
    metrics = metrics_of(torch.bincount(found, minlength=count + 1))
    assert metrics["recall_at_5"] == pytest.approx(float((found <= 5).float().mean()))
    assert metrics["mrr"] == pytest.approx(float((1 / found).mean()))
    gain = torch.where(found <= 10, 1 / torch.log2(1.0 + found), torch.zeros(()))
    assert metrics["ndcg_at_10"] == pytest.approx(float(gain.mean()), rel=1e-5, abs=1e-7)


def test_a_network_that_says_the_same_of_all_texts_or_no_number_finds_nothing():
    for value in (1.0, math.nan):
        same = torch.full((12, 4), value)
        found = places(same, same, own=torch.arange(12), alike=torch.eye(12, dtype=torch.bool))
        assert metrics_of(torch.bincount(found, minlength=13))["recall_at_10"] == 0.0
