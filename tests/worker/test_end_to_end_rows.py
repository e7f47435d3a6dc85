"""Rows computed end to end: the loss and gradients of padded rows, in fewer places."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    CanineConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from runjob.data.cut import Limit, cut_by_length
from runjob.runner.worker.models import canine  # noqa: F401 - registers the CANINE with a head
from runjob.runner.worker.models.end_to_end import Gather, RowPlaces, Spread, rows_apart
from runjob.runner.worker.models.init import enable_gradient_checkpointing
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.schemas.end_to_end import rows_are_padded
from runjob.schemas.read import read_job
from tests.conftest import ROOT

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
LENGTHS = (21, 3, 13, 13, 40, 1, 7)
lengths = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def config(family: str) -> PreTrainedConfig:
    match family:
        case "bert":
            return BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        case "roberta":
            return RobertaConfig(**SIZES, pad_token_id=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        case "canine":
            # 32: chunks of the local attention, which the longest row and those near 32 characters reach beyond
            sizes = {
                name: size for name, size in SIZES.items() if name not in ("vocab_size", "max_position_embeddings")
            }
            hashed = {"num_hash_functions": 2, "num_hash_buckets": 200, "max_position_embeddings": 128}
            config = CanineConfig(
                **sizes,
                **hashed,
                local_transformer_stride=32,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
            config.character_table = 96
            return config
        case _:
            # 8: four places to either side, so that the local layers of the longer rows see less than all
            return ModernBertConfig(**SIZES, pad_token_id=0, local_attention=8, global_attn_every_n_layers=2)


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(3)
    attention = "eager" if family == "canine" else "sdpa"
    return AutoModelForMaskedLM.from_config(config(family), attn_implementation=attention).train()


def padded_rows(row_lengths: tuple[int, ...], *, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(row_lengths), max(row_lengths))
    mask = (torch.arange(shape[1])[None, :] < torch.tensor(row_lengths)[:, None]).long()
    ids = torch.randint(5, 96, shape, generator=generator) * mask
    hidden = (torch.rand(shape, generator=generator) < 0.3) & mask.bool()
    return {"input_ids": ids, "labels": torch.where(hidden, ids, -100), "attention_mask": mask}


@pytest.mark.parametrize("family", ["bert", "canine", "roberta", "modernbert"])
@pytest.mark.parametrize("drawn", [LENGTHS, (30, 31, 32, 33, 40, 34, 2)], ids=["short and long", "near a chunk's end"])
def test_loss_and_gradients_are_those_of_padded_rows(family: str, drawn: tuple[int, ...]) -> None:
    network, given_rows = build(family), padded_rows(drawn)
    one, other = [], []
    for end_to_end, found in ((False, one), (True, other)):
        answer = MaskedLMObjective(network, end_to_end=end_to_end)(**given_rows, watched=given_rows["labels"] % 2 == 0)
        answer.loss_sum.backward()
        found += [answer.loss_sum, answer.predicted, answer.watched_sum]
        found += [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        network.zero_grad()
    assert len(one) > 20
    most = 5e-6 if family == "canine" else 2e-6  # its convolutions are sums over 256 places at once
    for padded, apart in zip(one, other, strict=True):
        torch.testing.assert_close(apart, padded, rtol=2e-5, atol=most)


def test_each_layer_but_attention_sees_tokens_alone() -> None:
    network = build("bert")
    seen: list[tuple[int, ...]] = []
    network.bert.encoder.layer[1].intermediate.register_forward_hook(lambda *call: seen.append(tuple(call[2].shape)))
    MaskedLMObjective(network, end_to_end=True)(**padded_rows(LENGTHS))
    assert seen == [(1, sum(LENGTHS), 48)]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_the_last_layer_is_computed_where_its_answers_are_read(family: str) -> None:
    network, given_rows = build(family), padded_rows(LENGTHS)
    layers = network.base_model.layers if family == "modernbert" else network.base_model.encoder.layer
    seen: list[int] = []
    for layer in layers:
        inner = layer.mlp if family == "modernbert" else layer.intermediate
        inner.register_forward_hook(lambda *call: seen.append(call[2].shape[1]))
    answer = MaskedLMObjective(network, end_to_end=True)(**given_rows)
    assert seen == [sum(LENGTHS), sum(LENGTHS), int(answer.predicted)]
    rows = RowPlaces.of(given_rows["attention_mask"])
    tokens = given_rows["input_ids"].flatten()[rows.tokens_T][None]
    everything = network.base_model(input_ids=tokens, **rows_apart(network, rows)).last_hidden_state
    assert everything.shape[1] == sum(LENGTHS)


def test_canines_layers_compute_few_places_behind_a_row_the_deep_ones_a_quarter_the_last_what_is_asked() -> None:
    network = build("canine")
    seen: dict[str, int] = {}
    for name in ("initial_char_encoder", "encoder", "final_char_encoder"):
        layer = getattr(network.canine, name).layer[0]
        layer.intermediate.register_forward_hook(lambda *call, name=name: seen.update({name: call[2].shape[1]}))
    answer = MaskedLMObjective(network, end_to_end=True)(**padded_rows((5, 21, 18, 30)))
    # 5 + 2 in fours, 21 + 2, 18 + 2, 30 + 2; of each row CLS besides; and the last layer answers what is asked
    assert seen == {
        "initial_char_encoder": 84,
        "encoder": 84 // 4 + 4,
        "final_char_encoder": int(answer.predicted),
    }


def test_layers_that_are_computed_twice_give_the_same() -> None:
    losses = []
    for again in (False, True):
        network = build("modernbert")
        if again:
            enable_gradient_checkpointing(network)
        answer = MaskedLMObjective(network, end_to_end=True)(**padded_rows(LENGTHS))
        answer.loss_sum.backward()
        losses.append([answer.loss_sum, *(parameter.grad for parameter in network.parameters())])
    for plain, twice in zip(*losses, strict=True):
        torch.testing.assert_close(twice, plain)


def test_a_network_that_is_told_to_tell_rows_apart_still_takes_padded_ones() -> None:
    network, given_rows = build("modernbert").eval(), padded_rows(LENGTHS)
    before = network(given_rows["input_ids"], attention_mask=given_rows["attention_mask"]).logits
    MaskedLMObjective(network, end_to_end=True)
    assert network.config._attn_implementation == "sdpa end to end"
    after = network(given_rows["input_ids"], attention_mask=given_rows["attention_mask"]).logits
    torch.testing.assert_close(after, before)


@given(lengths)
@settings(max_examples=60, deadline=None)
def test_what_is_spread_is_gathered_again_and_its_gradient_goes_the_same_way(drawn: list[int]) -> None:
    rows = RowPlaces.of(padded_rows(tuple(drawn))["attention_mask"])
    each = torch.randn(sum(drawn), 3, dtype=torch.float64, requires_grad=True)
    spread = Spread.apply(each, rows.apart)
    assert torch.equal(Gather.apply(spread, rows.apart), each)
    assert spread.count_nonzero() == each.count_nonzero()
    assert sum(group.rows for group in rows.apart.groups) == len(drawn)
    spread.square().sum().backward()
    assert torch.equal(each.grad, 2 * each.detach())
    ids = padded_rows(tuple(drawn))["input_ids"]
    in_a_row = torch.cat([row[:length] for row, length in zip(ids, drawn, strict=True)])
    assert torch.equal(ids.flatten()[rows.tokens_T], in_a_row)
    assert rows.positions_T.tolist() == [place for n in drawn for place in range(n)]


@given(lengths, st.sampled_from([1, 2]), st.integers(40, 200))
@settings(max_examples=100, deadline=None)
def test_where_padding_costs_nothing_a_budget_is_filled_with_tokens(drawn: list[int], ranks: int, budget: int) -> None:
    row_lengths = np.array(drawn * ranks)
    cut = cut_by_length(row_lengths, ranks=ranks, limit=Limit(rows=None, tokens=budget, padded=False))
    counts = {len(cut.micro_batches(rank)) for rank in range(ranks)}
    assert len(counts) == 1
    assert sorted(cut.exchanged) == list(range(len(row_lengths)))
    for rank in range(ranks):
        sums = [int(row_lengths[places].sum()) for places in cut.micro_batches(rank)]
        assert max(sums) <= budget
    # no two neighbours of one rank would fit into one
    if ranks == 1:
        assert all(first + second > budget for first, second in pairwise(sums))


@pytest.mark.parametrize(
    ("shipped", "padded"),
    [
        ("tiny/modernbert_student", False),
        ("modernbert_student", True),  # compiled
        ("canine_domains", True),  # whose configuration is on the Hub
        ("tiny/canine_domains", False),
        ("mpnet_100k", True),
        ("gpt2_dutch_small", True),
    ],
)
def test_which_shipped_jobs_compute_padding(shipped: str, padded: bool) -> None:
    assert rows_are_padded(read_job(ROOT / "jobs" / f"{shipped}.yaml", []).job) is padded


def test_of_a_checkpoint_its_configuration_says_whether_rows_are_padded(tmp_path: Path) -> None:
    sets = [f"model.init={{kind: pretrained, path: {tmp_path}}}", "training.compile=false", "data.layout=lines"]
    job = read_job(ROOT / "jobs" / "tiny" / "paleo_dapt.yaml", sets).job
    assert rows_are_padded(job)
    for family, padded in (("bert", False), ("deberta-v2", True)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        assert rows_are_padded(job) is padded
