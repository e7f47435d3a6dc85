"""Networks of every family with the fused kernels in them: the same loss and gradients to what bf16 knows, the same
parameters and configuration, the same masks for a layer that is computed twice."""

import copy

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, RobertaConfig, RobertaForMaskedLM

from runjob.data.characters import CLS, MASK, PAD, SEP
from runjob.data.store import TokenizerSummary
from runjob.runner.worker.kernels.cross_entropy import FusedHead
from runjob.runner.worker.kernels.elementwise import FusedDropout, FusedGelu
from runjob.runner.worker.kernels.families import install
from runjob.runner.worker.kernels.norm import NarrowNorm, ResidualNorm
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network, enable_gradient_checkpointing
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.runner.worker.models.permuted_lm import PermutedLMObjective
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.job_model import (
    Model,
    ScratchBert,
    ScratchCanine,
    ScratchDebertaV2,
    ScratchGpt2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
)

pytestmark = pytest.mark.usefixtures("kernels")

LENGTH, VOCABULARY = 40, 83
WORDS = TokenizerSummary(fingerprint="", vocab_size=VOCABULARY, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=82)
CHARACTERS = TokenizerSummary(
    fingerprint="", vocab_size=CODE_POINTS, eos_id=SEP, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK
)
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": None}
COMMON = {"kind": "scratch", **SIZES, "max_position_embeddings": LENGTH}
MPNET = {"architecture": "mpnet", "attention_dropout": None, "activation_dropout": 0.0, "vocabulary_multiple": 1}
CANINE = {"architecture": "canine", "num_hash_functions": 4, "num_hash_buckets": 300, "character_table": 256}
FAMILIES = ("bert", "canine", "deberta_v2", "gpt2", "modernbert", "mpnet", "permuted", "roberta")
every_family = pytest.mark.parametrize("family", FAMILIES)
Classes = dict[type[nn.Module], int]
# Attention and what else takes another class, in two layers
SERVED: dict[str, tuple[str, Classes]] = {
    "bert": ("fused", {ResidualNorm: 4, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
    "canine": ("eager", {ResidualNorm: 8, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
    "deberta_v2": ("eager", {ResidualNorm: 4, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
    "gpt2": ("fused", {ResidualNorm: 0, NarrowNorm: 4, FusedGelu: 2, FusedHead: 1}),
    "modernbert": ("fused", {ResidualNorm: 0, NarrowNorm: 3, FusedGelu: 0, FusedHead: 1}),
    "mpnet": ("eager", {ResidualNorm: 2, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
    "permuted": ("eager", {ResidualNorm: 2, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
    "roberta": ("fused", {ResidualNorm: 4, NarrowNorm: 0, FusedGelu: 0, FusedHead: 1}),
}


def initial(family: str, dropout: float) -> ScratchInit:
    match family:
        case "bert":
            return ScratchBert(architecture="bert", **COMMON, dropout=dropout)
        case "canine":
            return ScratchCanine(**CANINE, **COMMON, dropout=dropout)
        case "deberta_v2":
            return ScratchDebertaV2(architecture="deberta_v2", **COMMON, dropout=dropout, position_buckets=8)
        case "gpt2":
            return ScratchGpt2(architecture="gpt2", **COMMON, dropout=dropout)
        case "modernbert":
            windows = {"global_attn_every_n_layers": 2, "local_attention": 8}
            return ScratchModernBert(architecture="modernbert", **COMMON, dropout=dropout, **windows)
        case _:
            return ScratchMPNet(**MPNET, **COMMON, dropout=dropout)


def build(family: str, *, dropout: float = 0.0) -> PreTrainedModel:
    """With weights so large that all that a place sees matters."""
    if family == "roberta":
        torch.manual_seed(5)
        sizes = {**SIZES, "intermediate_size": 96, "max_position_embeddings": LENGTH + 2}
        drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        network = RobertaForMaskedLM(RobertaConfig(vocab_size=VOCABULARY, **sizes, **drops))
    else:
        task = {"gpt2": "clm", "permuted": "plm"}.get(family, "mlm")
        words = CHARACTERS if family == "canine" else WORDS
        init = Model(init=initial(family, dropout), allow_new=())
        network = build_network(init, task, tokenizer=words, seed=5)[0]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.train()


def objective(family: str, network: PreTrainedModel, *, recompute: bool = False) -> nn.Module:
    if family == "permuted":
        return PermutedLMObjective(network, recompute=recompute)
    if recompute:
        enable_gradient_checkpointing(network)
    return CausalLMObjective(network) if family == "gpt2" else MaskedLMObjective(network)


def batch(family: str, *, documents: bool = False) -> dict[str, torch.Tensor]:
    """Four rows, the last two shorter; a third of their places hidden."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 80, (4, LENGTH), generator=generator)
    mask = (torch.arange(LENGTH) < torch.tensor([LENGTH, LENGTH, 23, 9])[:, None]).long()
    asked = (torch.rand(ids.shape, generator=generator) < 0.3) & (mask > 0)
    tensors = {"input_ids": ids, "labels": ids.masked_fill(~asked, -100)}
    if family == "gpt2":
        tensors["labels"] = ids.roll(-1, 1)
    elif not documents:
        tensors["attention_mask"] = mask
    if documents:
        tensors["position_ids"] = torch.arange(LENGTH).remainder(13).expand(4, LENGTH)
    if family == "permuted":
        tensors["order"] = (asked.long().cumsum(1) - 1).masked_fill(~asked, -1)
    return tensors


def loss_and_gradient(module: nn.Module, tensors: dict[str, torch.Tensor], *, bf16: bool) -> tuple[float, torch.Tensor]:
    torch.manual_seed(11)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        answer = module(**tensors)
    parameters = [each for each in module.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(answer.loss_sum, parameters, allow_unused=True)
    flat = [each.flatten().double() for each in gradients if each is not None]
    return answer.loss_sum.item() / answer.predicted.item(), torch.cat(flat)


def fused(network: PreTrainedModel) -> PreTrainedModel:
    network = copy.deepcopy(network)
    install(network)
    return network


def assert_as_near_as_torch(family: str, tensors: dict[str, torch.Tensor], *, end_to_end: bool = False) -> None:
    """Loss and gradient are no farther from those in fp32 than torch's own operations under autocast are."""
    network = build(family)
    true, direction = loss_and_gradient(objective(family, network), tensors, bf16=False)
    plain, plain_gradient = loss_and_gradient(objective(family, network), tensors, bf16=True)
    one = fused(network)
    module = MaskedLMObjective(one, end_to_end=True) if end_to_end else objective(family, one)
    ours, gradient = loss_and_gradient(module, tensors, bf16=True)
    assert abs(ours - true) < max(2 * abs(plain - true), 2e-3 * true)
    away, plainly = (gradient - direction).norm().item(), (plain_gradient - direction).norm().item()
    assert 0 < away < 1.5 * plainly < 0.1 * direction.norm().item(), (away, plainly, direction.norm().item())
    assert not torch.equal(gradient, plain_gradient)


@every_family
def test_a_fused_network_learns_what_the_plain_one_learns(family):
    assert_as_near_as_torch(family, batch(family))


@pytest.mark.parametrize("family", ["bert", "canine", "modernbert", "roberta"])
def test_rows_end_to_end_learn_what_padded_ones_learn(family):
    assert_as_near_as_torch(family, batch(family), end_to_end=True)


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert", "permuted"])
def test_documents_stay_apart(family):
    assert_as_near_as_torch(family, batch(family, documents=True))


@every_family
def test_parameters_and_configuration_stay_and_every_place_is_served(family):
    plain = build(family, dropout=0.1)
    network = fused(plain)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert network.config.to_json_string() == plain.config.to_json_string()
    attention, classes = SERVED[family]
    assert network.config._attn_implementation == attention
    kinds = [type(module) for module in network.modules()]
    assert {kind: kinds.count(kind) for kind in classes} == classes
    assert nn.Dropout not in kinds and FusedDropout in kinds
    written_out = [kind.__name__ for kind in kinds if kind.__name__.endswith("SelfAttention")]
    assert attention == "fused" or not written_out


@every_family
def test_without_autocast_a_fused_network_is_the_plain_one(family):
    """A sample of text, an export, an evaluation in fp32."""
    network = build(family).eval()
    tensors = batch(family)
    plain, one = loss_and_gradient(objective(family, network), tensors, bf16=False)
    ours, other = loss_and_gradient(objective(family, fused(network)), tensors, bf16=False)
    assert plain == ours and torch.equal(one, other)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "mpnet"])  # transformers can't there
def test_a_layer_that_is_computed_twice_drops_the_same_twice(family):
    network = fused(build(family, dropout=0.2))
    tensors = batch(family)
    once, one = loss_and_gradient(objective(family, network), tensors, bf16=True)
    twice, other = loss_and_gradient(objective(family, network, recompute=True), tensors, bf16=True)
    assert once == twice and torch.equal(one, other)
    dry, _ = loss_and_gradient(objective(family, network.eval()), tensors, bf16=True)
    assert dry != once


# Dropouts of attention by the ends of their names, where they are modules; all others are of what flows between blocks
ATTENTION = ("self.dropout", "attn_dropout", "attn.dropout")


@pytest.mark.parametrize("of_attention", [True, False])
@pytest.mark.parametrize("family", ["bert", "gpt2", "mpnet"])
def test_dropout_shakes_the_loss_as_much_as_torchs_does(family, of_attention):
    plain = build(family, dropout=0.4)
    for name, module in plain.named_modules():
        if isinstance(module, nn.Dropout) and name.endswith(ATTENTION) != of_attention:
            module.p = 0.0
    tensors = batch(family)

    def spread(network: PreTrainedModel) -> float:
        module, losses = objective(family, network), []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for seed in range(30):
                torch.manual_seed(seed)
                losses.append(module(**tensors).loss_sum)
        return torch.stack(losses).std().item()

    # a spread of 30 is known to 13 %
    assert 0.5 < spread(fused(plain)) / spread(plain) < 2
