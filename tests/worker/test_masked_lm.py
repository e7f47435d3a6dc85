"""Objective mlm: each family's loss at the predicted places alone, its size, its first weights, and its way out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, PreTrainedModel, RobertaConfig, RobertaForMaskedLM

from runjob.data.store import TokenizerSummary
from runjob.runner.estimate import scratch_parameters
from runjob.runner.worker.export import export_model
from runjob.runner.worker.models.configs import new_config
from runjob.runner.worker.models.init import build_network, check_positions, enable_gradient_checkpointing
from runjob.runner.worker.models.masked_lm import MaskedLMObjective, check_family
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job import Generation
from runjob.schemas.job_model import (
    Model,
    PretrainedInit,
    ScratchBert,
    ScratchDebertaV2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
)

VOCABULARY, LENGTH = 83, 24
# As MPNet wants them: 0 <s>, 1 <pad>, 2 </s>
WORDS = TokenizerSummary(
    fingerprint="", vocab_size=VOCABULARY, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=VOCABULARY - 1
)
SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": None}
MPNET = {"architecture": "mpnet", "attention_dropout": None, "activation_dropout": 0.0, "vocabulary_multiple": 1}
COMMON = {"kind": "scratch", **SIZES, "max_position_embeddings": LENGTH, "dropout": 0.0}
FAMILIES: dict[str, ScratchInit] = {
    "bert": ScratchBert(architecture="bert", **COMMON),
    "modernbert": ScratchModernBert(
        architecture="modernbert", **COMMON, global_attn_every_n_layers=2, local_attention=8
    ),
    "deberta_v2": ScratchDebertaV2(architecture="deberta_v2", **COMMON, position_buckets=8),
    "mpnet": ScratchMPNet(**MPNET, **COMMON),
}
HEAD_NAMES = {
    "bert": "cls.predictions.transform",
    "modernbert": "head",
    "deberta_v2": "cls.predictions.transform",
    "mpnet": "lm_head",
}
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def build(init: ScratchInit, *, seed: int = 5) -> PreTrainedModel:
    return build_network(Model(init=init, allow_new=()), "mlm", tokenizer=WORDS, seed=seed)[0]


def loaded(path: Path, allow_new=()):
    init = PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=False)
    return build_network(Model(init=init, allow_new=allow_new), "mlm", tokenizer=WORDS, seed=1)


def sample(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and labels at about a fifth of the places."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (rows, LENGTH), generator=generator)
    hidden = torch.rand((rows, LENGTH), generator=generator) < 0.2
    return ids.masked_fill(hidden, VOCABULARY - 1), ids.masked_fill(~hidden, -100)


def full_loss(
    network: PreTrainedModel, inputs: torch.Tensor, labels: torch.Tensor, **more: torch.Tensor
) -> torch.Tensor:
    logits = network(input_ids=inputs, **more).logits
    return F.cross_entropy(logits.double().flatten(0, 1), labels.flatten(), reduction="sum")


@every_family
def test_the_head_at_the_predicted_places_alone_gives_the_loss_and_gradients_of_the_whole(family):
    inputs, labels = sample()
    sparse, whole = build(FAMILIES[family]), build(FAMILIES[family])
    answer = MaskedLMObjective(sparse)(inputs, labels)
    answer.loss_sum.backward()
    expected = full_loss(whole, inputs, labels)
    expected.backward()
    assert answer.loss_sum.dtype == torch.float64
    assert answer.predicted.item() == (labels != -100).sum()
    assert answer.loss_sum.item() == pytest.approx(expected.item(), rel=1e-6)
    for (name, one), other in zip(sparse.named_parameters(), whole.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


@every_family
def test_the_head_never_sees_a_place_that_is_not_predicted(family):
    network = build(FAMILIES[family])
    seen = []
    head = network.get_submodule(HEAD_NAMES[family])
    head.dense.register_forward_hook(lambda _module, inputs, _answer: seen.append(inputs[0].shape))
    inputs, labels = sample()
    MaskedLMObjective(network)(inputs, labels)
    assert seen == [((labels != -100).sum(), 16)]


@every_family
def test_padding_changes_nothing_and_a_row_without_labels_adds_nothing(family):
    objective = MaskedLMObjective(build(FAMILIES[family]))
    inputs, labels = sample(1)
    short = objective(inputs[:, :15], labels[:, :15])
    mask = (torch.arange(LENGTH) < 15).long()[None]
    padded = objective(inputs * mask, labels.masked_fill(mask == 0, -100), attention_mask=mask)
    assert padded.loss_sum.item() == pytest.approx(short.loss_sum.item(), rel=1e-5)
    nothing = objective(inputs, torch.full_like(labels, -100))
    assert (nothing.loss_sum.item(), nothing.predicted.item()) == (0.0, 0)
    nothing.loss_sum.backward()
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in objective.parameters())


@every_family
def test_the_plan_counts_a_new_network_to_the_last_parameter(family):
    for init in (FAMILIES[family], *REAL_SIZES[family]):
        with torch.device("meta"):
            network = build_meta(init)
        assert scratch_parameters(init, VOCABULARY) == sum(parameter.numel() for parameter in network.parameters())


def build_meta(init: ScratchInit) -> PreTrainedModel:
    return AutoModelForMaskedLM.from_config(new_config(init, WORDS))


BASE = {
    "kind": "scratch",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 1000,
    "max_position_embeddings": 512,
    "dropout": 0.1,
}
REAL_SIZES: dict[str, list[ScratchInit]] = {
    "bert": [ScratchBert(architecture="bert", **BASE)],
    "modernbert": [
        ScratchModernBert(architecture="modernbert", **BASE, global_attn_every_n_layers=3, local_attention=128)
    ],
    "deberta_v2": [ScratchDebertaV2(architecture="deberta_v2", **BASE, position_buckets=256)],
    "mpnet": [ScratchMPNet(**MPNET, **BASE), ScratchMPNet(**{**MPNET, "vocabulary_multiple": 128}, **BASE)],
}


def test_the_base_sizes_of_the_papers_have_their_parameters():
    """bert-base-uncased with its masked head (109,514,298; no pooler), ModernBERT-base (149 M)."""
    bert = ScratchBert(architecture="bert", **{**BASE, "intermediate_size": None})
    assert scratch_parameters(bert, 30522) == 109_514_298
    modern = ScratchModernBert(
        architecture="modernbert",
        **{**BASE, "num_hidden_layers": 22, "intermediate_size": None, "max_position_embeddings": 8192},
        global_attn_every_n_layers=3,
        local_attention=128,
    )
    assert scratch_parameters(modern, 50_368) == 149_655_232


@every_family
def test_the_exported_model_is_what_transformers_loads_as_a_masked_model(family, tokenizer, tmp_path):
    network = build(FAMILIES[family]).eval()
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    network.config.architectures = [type(network).__name__]
    generation = Generation(max_new_tokens=1, temperature=0, top_k=0, top_p=1.0)
    target = tmp_path / "model"
    export_model(weights, network.config, tokenizer=tokenizer, target=target, card="# card\n", generation=generation)
    again = AutoModelForMaskedLM.from_pretrained(target, attn_implementation=network.config._attn_implementation)
    inputs, _ = sample()
    with torch.no_grad():
        assert torch.equal(again.eval()(inputs).logits, network(inputs).logits)
    assert not (target / "generation_config.json").exists()
    assert json.loads((target / "config.json").read_text())["architectures"] == [type(network).__name__]
    assert loaded(target)[1].new == ()


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def publish_deberta(directory: Path) -> PreTrainedModel:
    """A small checkpoint under the names of the public DeBERTa-v3: head in `lm_predictions`, a second head besides."""
    network = build(FAMILIES["deberta_v2"]).eval()
    with torch.no_grad():
        network.cls.predictions.bias.normal_()
        network.cls.predictions.transform.LayerNorm.weight.normal_()
    network.save_pretrained(directory)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("cls.predictions.")]:
            public = name.replace("cls.predictions.transform.", "lm_predictions.lm_head.")
            public = public.replace("cls.predictions.", "lm_predictions.lm_head.")
            tensors[public] = tensors.pop(name)
        tensors["mask_predictions.dense.weight"] = torch.ones(4, 4)

    rewrite(directory, change)
    return network


def test_the_head_of_a_public_deberta_is_found_under_its_own_names(tmp_path):
    original = publish_deberta(tmp_path)
    network, report = loaded(tmp_path)
    assert report.new == ()
    inputs, _ = sample()
    with torch.no_grad():
        assert torch.equal(network.eval()(inputs).logits, original(inputs).logits)
    head = original.cls.predictions
    hidden = torch.randn(2, 16)
    public = F.layer_norm(
        F.gelu(head.transform.dense(hidden)),
        (16,),
        head.transform.LayerNorm.weight,
        head.transform.LayerNorm.bias,
        1e-7,
    )
    public = public @ original.deberta.embeddings.word_embeddings.weight.T + head.bias
    torch.testing.assert_close(MaskedLMObjective(network).predict(hidden), public)


def test_a_new_head_is_admitted_only_where_the_job_says_so(tmp_path):
    publish_deberta(tmp_path)
    rewrite(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("lm_pred")])
    with pytest.raises(CheckpointError, match=r"lacks cls\.predictions\..*model\.allow_new: \[head\]"):
        loaded(tmp_path)
    _, report = loaded(tmp_path, allow_new=("head",))
    assert {tensor.name for tensor in report.new} == {
        "cls.predictions.bias",
        *(f"cls.predictions.transform.{part}.{kind}" for part in ("dense", "LayerNorm") for kind in ("weight", "bias")),
    }


def test_roberta_is_read_and_its_positions_begin_after_the_paddings(tmp_path):
    config = RobertaConfig(
        **SIZES | {"intermediate_size": 32}, vocab_size=VOCABULARY, max_position_embeddings=LENGTH + 2
    )
    RobertaForMaskedLM(config).save_pretrained(tmp_path)
    network, report = loaded(tmp_path)
    assert report.new == ()
    check_positions(network, sequence_length=LENGTH)
    with pytest.raises(JobError, match=r"25 tokens do not fit the network's 24 positions"):
        check_positions(network, sequence_length=LENGTH + 1)
    inputs, labels = sample()
    answer = MaskedLMObjective(network)(inputs, labels)
    assert answer.loss_sum.item() == pytest.approx(full_loss(network, inputs, labels).item(), rel=1e-6)


def test_mpnet_needs_the_padding_that_transformers_gives_it():
    words = TokenizerSummary(**{**vars(WORDS), "pad_id": 0})
    with pytest.raises(JobError, match=r"mpnet takes id 1 for padding, and the tokenizer has id 0"):
        build_network(Model(init=FAMILIES["mpnet"], allow_new=()), "mlm", tokenizer=words, seed=1)
    network = build(FAMILIES["mpnet"])
    check_positions(network, sequence_length=LENGTH)
    MaskedLMObjective(network)(*sample())  # the last position is in the table


def test_a_family_without_a_known_head_is_refused():
    network = build(FAMILIES["bert"])
    network.config.model_type = "unheard-of"
    with pytest.raises(JobError, match=r"bert, canine, deberta-v2, modernbert, mpnet, roberta, not unheard-of"):
        check_family(network)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"mpnet"}))
def test_gradient_checkpointing_gives_the_same_gradients(family):
    def gradients(*, checkpointing: bool) -> list[torch.Tensor | None]:
        network = build(FAMILIES[family]).train()
        if checkpointing:
            enable_gradient_checkpointing(network)
        MaskedLMObjective(network)(*sample()).loss_sum.backward()
        return [parameter.grad for parameter in network.parameters()]

    for one, other in zip(gradients(checkpointing=False), gradients(checkpointing=True), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_gradient_checkpointing_of_mpnet_is_refused():
    with pytest.raises(JobError, match=r"training\.gradient_checkpointing: transformers can't do it for mpnet"):
        enable_gradient_checkpointing(build(FAMILIES["mpnet"]))


@every_family
def test_scratch_networks_of_one_seed_are_equal_and_their_sizes_are_the_jobs(family):
    one, two = build(FAMILIES[family]), build(FAMILIES[family])
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters(), strict=True))
    config = one.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 4, 2)
    assert config.intermediate_size == (24 if family == "modernbert" else 64)
    assert config.vocab_size == VOCABULARY
    assert one.get_output_embeddings().weight is one.get_input_embeddings().weight
