"""The gradient of a vocabulary's matrix in memory that stays: the sums of torch's own, whatever a step is made of."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.kept_gradient import LARGE_BYTES, KeptEmbedding, keep_gradients
from runjob.runner.worker.models.linear_loss import IGNORED
from runjob.runner.worker.models.masked_lm import MaskedLMObjective

CLASSES = 90
Objective = CausalLMObjective | MaskedLMObjective


def causal() -> CausalLMObjective:
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    return CausalLMObjective(
        GPT2LMHeadModel(GPT2Config(vocab_size=CLASSES, bos_token_id=None, eos_token_id=None, **sizes))
    )


def masked(*, tied: bool = True, vocabulary: int | None = None, ids: int = CLASSES) -> MaskedLMObjective:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=ids, max_position_embeddings=16, tie_word_embeddings=tied, **sizes)
    return MaskedLMObjective(BertForMaskedLM(config), vocabulary=vocabulary)


NETWORKS: dict[str, Callable[[], Objective]] = {
    "gpt2": causal,
    "bert": masked,
    "the first classes": partial(masked, vocabulary=71),
    "a head of its own": partial(masked, tied=False),
    "a large table of its own": partial(masked, tied=False, ids=LARGE_BYTES // (4 * 16)),
}
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)


def rows(seed: int, *, predicted: bool = True) -> dict[str, torch.Tensor]:
    """Few ids, so that many places look up one row."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(12, (3, 11), generator=generator)
    labels = torch.randint(70, (3, 11), generator=generator)
    return {"input_ids": ids, "labels": labels if predicted else torch.full_like(labels, IGNORED)}


def train(objective: Objective, *parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The gradients of a step of these micro batches."""
    objective.zero_grad(set_to_none=True)
    for part in parts:
        (objective(**part).loss_sum * 0.125).backward()
    found = {name: parameter.grad for name, parameter in objective.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def pair(build: Callable[[], Objective]) -> tuple[Objective, Objective]:
    torch.manual_seed(3)
    plain = build().eval()  # dropout would draw other masks
    kept = copy.deepcopy(plain)
    keep_gradients(kept.network)
    return plain, kept


@every_network
def test_steps_of_several_micro_batches_have_the_gradients_of_torch(build) -> None:
    plain, kept = pair(build)
    nothing = rows(9, predicted=False)
    for step in ((rows(1),), (rows(2), rows(3), rows(4)), (nothing, rows(5)), (rows(6), nothing), (nothing,)):
        ours, theirs = train(kept, *step), train(plain, *step)
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


@every_network
def test_its_memory_stays_and_nothing_of_its_size_is_asked_for(build) -> None:
    _, kept = pair(build)
    weight = kept.network.get_output_embeddings().weight
    train(kept, rows(1))
    place = weight.grad.data_ptr()
    train(kept, rows(2), rows(3))
    assert weight.grad.data_ptr() == place
    assert not weight.grad.is_sparse


@every_network
def test_the_same_step_has_the_same_bits_whatever_was_in_the_memory_before(build) -> None:
    """Several threads, and rows that are looked up many times each."""
    _, kept = pair(build)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    first = train(kept, rows(1), rows(2))
    train(kept, rows(8))
    again = train(kept, rows(1), rows(2))
    torch.set_num_threads(before)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_large_table_of_its_own_keeps_its_zeros_and_a_small_one_is_left_alone() -> None:
    _, kept = pair(NETWORKS["a large table of its own"])
    tables = [type(module) for module in kept.network.modules() if isinstance(module, torch.nn.Embedding)]
    assert tables == [KeptEmbedding, torch.nn.Embedding, torch.nn.Embedding]  # words, positions, segments
    words = kept.network.get_input_embeddings().weight
    train(kept, rows(1))
    place = words.grad.data_ptr()
    train(kept, rows(2))
    assert words.grad.data_ptr() == place and not words.grad.is_sparse
    with torch.no_grad():
        kept.network.zero_grad(set_to_none=True)
        kept(**rows(3))
    assert words.grad is None


def test_a_head_that_is_frozen_gets_none() -> None:
    _, kept = pair(partial(masked, tied=False))
    head = kept.network.get_output_embeddings()
    head.weight.requires_grad_(False)
    kept(**rows(1)).loss_sum.backward()
    assert head.weight.grad is None


def test_what_is_saved_of_a_network_knows_nothing_of_it(tmp_path) -> None:
    plain, kept = pair(causal)
    train(kept, rows(1))
    assert list(kept.state_dict()) == list(plain.state_dict())
    network: PreTrainedModel = kept.network
    network.save_pretrained(tmp_path)
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.lm_head.weight, network.lm_head.weight)
