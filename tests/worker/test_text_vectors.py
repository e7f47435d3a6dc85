"""Vectors of texts: the loss against its definition, text by text, and what is measured of a search."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from runjob.data import tokenizers
from runjob.runner.estimate import last_dense, scratch_parameters, text_head
from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_run import main
from runjob.runner.worker.export_sentences import settings_of
from runjob.runner.worker.fill_mask import open_filler
from runjob.runner.worker.models.body import AutoBody
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.models.loading import attention_of
from runjob.runner.worker.models.text_vectors import TextVectorsObjective, apart, pooled
from runjob.runner.worker.retrieval import metrics_of, places
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job_data import TrainedWordPiece
from runjob.schemas.job_model import Model, PretrainedInit, SentenceEmbedding
from tests.worker.test_masked_lm import FAMILIES, VOCABULARY, WORDS, every_family

JOB = SentenceEmbedding(
    kind="sentence_embedding",
    loss="contrastive",
    temperature=0.05,
    pooling="mean",
    group=3,
    teacher=None,
    teacher_revision=None,
    teacher_pooling="mean",
)
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
# Anchor and target of six rows; the second and third have one target, the fourth and sixth one anchor, and the
# fifth's looks like it when it is filled up
TEXTS = [
    ([4, 5], [6, 7, 8]),
    ([9], [10, 11]),
    ([12, 13, 14], [10, 11]),
    ([15], [16]),
    ([15, 0], [19, 20, 21, 22]),
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


def test_a_row_that_fills_a_batch_up_is_nobody_s_wrong_answer():
    module = TextVectorsObjective(body("bert"), JOB).eval()
    alone, filled = batch(TEXTS[:2]), batch([*TEXTS[:2], ([25, 26], [27, 28, 29])])
    filled["labels"][2] = IGNORED
    with torch.no_grad():
        one, other = module(**alone), module(**filled)
    assert int(other.predicted) == 2
    assert float(other.loss_sum) == pytest.approx(float(one.loss_sum), rel=1e-5)
    assert other.found.rows.tolist() == [0, 1]


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


@every_family
def test_a_new_body_has_as_many_parameters_as_planned_and_no_head(family):
    init = FAMILIES[family]
    network, report = build_network(Model(init=init, allow_new=()), "sentence_embedding", tokenizer=WORDS, seed=5)
    assert network.base_model is network
    assert report.parameters == scratch_parameters(init, VOCABULARY) - text_head(init, VOCABULARY) - last_dense(init)


@every_family
def test_the_body_of_a_masked_model_is_loaded_whole_and_a_lack_is_refused_even_where_a_head_may_be_new(
    family, tmp_path: Path
):
    masked, _ = build_network(Model(init=FAMILIES[family], allow_new=()), "mlm", tokenizer=WORDS, seed=5)
    masked.save_pretrained(tmp_path / "masked")
    init = PretrainedInit(kind="pretrained", path=str(tmp_path / "masked"), revision=None, trust_remote_code=False)
    network, report = build_network(Model(init=init, allow_new=()), "sentence_embedding", tokenizer=WORDS, seed=6)
    assert (report.new, report.student) == ((), None)
    theirs = dict(masked.base_model.named_parameters())
    for name, weight in network.named_parameters():
        assert torch.equal(weight, theirs[name])

    name = next(name for name in theirs if "layers.0" in name or "layer.0" in name)
    weights = {key: value for key, value in masked.state_dict().items() if not key.endswith(name)}
    masked.save_pretrained(tmp_path / "lacking", state_dict=weights)
    init = dataclasses.replace(init, path=str(tmp_path / "lacking"))
    with pytest.raises(CheckpointError, match="take a checkpoint that has them"):
        build_network(Model(init=init, allow_new=("head",)), "sentence_embedding", tokenizer=WORDS, seed=6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_sentence_transformers_gives_the_vectors_that_were_trained(family, pooling, tmp_path, generation, capsys):
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=60, lowercase=True, marks="bert", terms={}
    )
    words = tokenizers.train(lambda: iter(["the trilobite swam in the sea"] * 9), settings)
    tokenizers.save(words, tmp_path / "tokenizer")
    summary = tokenizers.summarise(words)
    network, _ = build_network(
        Model(init=FAMILIES[family], allow_new=()), "sentence_embedding", tokenizer=summary, seed=5
    )
    network.config.architectures = [type(network).__name__]
    export_model(
        {name: weight.detach() for name, weight in network.named_parameters()},
        network.config,
        tokenizer=tmp_path / "tokenizer",
        target=tmp_path / "model",
        card="",
        generation=generation,
        beside=settings_of(network.config.hidden_size, 9, pooling=pooling),
    )
    assert json.loads((tmp_path / "model" / "sentence_bert_config.json").read_text())["max_seq_length"] == 9
    to = tmp_path / "copy"
    assert main([str(tmp_path / "model"), "--to", str(to), "--format", "sentence-transformers"]) == 0
    assert f"a sentence becomes {network.config.hidden_size} numbers" in capsys.readouterr().out

    texts = ["the sea", "the trilobite swam in the sea and swam and swam", "sea"]
    tokenizer, plain = AutoTokenizer.from_pretrained(to), AutoModel.from_pretrained(to).eval()
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=9, return_tensors="pt")
        with torch.no_grad():
            states = plain(**inputs).last_hidden_state[0]
        ours = states.mean(0) if pooling == "mean" else states[0]
        for directory in (tmp_path / "model", to):
            theirs = SentenceTransformer(str(directory), device="cpu", local_files_only=True).encode(texts)
            assert torch.allclose(torch.from_numpy(theirs)[texts.index(text)], ours, atol=1e-6)
    with pytest.raises(JobError, match="this model makes vectors of texts, and writes none"):
        open_filler(to, device="cpu")
