"""First weights: reproducible from the seed, complete from a checkpoint or refused, and the loss that is trained."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from runjob.data.store import TokenizerSummary
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network, check_positions, enable_gradient_checkpointing
from runjob.schemas.errors import CheckpointError, JobError, MissingError
from runjob.schemas.job_model import Model, PretrainedInit, ScratchGpt2

VOCAB = 61


def tokens(vocab_size: int) -> TokenizerSummary:
    return TokenizerSummary(
        fingerprint="", vocab_size=vocab_size, eos_id=0, pad_id=None, cls_id=None, sep_id=None, mask_id=None
    )


def _scratch(**changes) -> Model:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": None,
        "max_position_embeddings": 32,
        "dropout": 0.0,
    }
    return Model(init=ScratchGpt2(kind="scratch", architecture="gpt2", **{**sizes, **changes}), allow_new=())


def _pretrained(path: Path | str, allow_new=()) -> Model:
    return Model(
        init=PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=False),
        allow_new=allow_new,
    )


def _build(model: Model, vocab_size: int = VOCAB, seed: int = 7):
    return build_network(model, "clm", tokenizer=tokens(vocab_size), seed=seed)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network, _ = _build(_scratch())
    network.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def _rewrite(directory: Path, change) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_one_seed_gives_the_same_bytes_whatever_was_drawn_before_and_disturbs_nobody():
    one, _ = _build(_scratch())
    torch.manual_seed(999)
    before = torch.random.get_rng_state()
    two, _ = _build(_scratch())
    assert torch.equal(before, torch.random.get_rng_state())
    assert _same(one, two)
    assert not _same(one, _build(_scratch(), seed=8)[0])


def test_scratch_is_gpt2_as_released_with_the_jobs_sizes():
    network, report = _build(_scratch(dropout=0.1, intermediate_size=40))
    config = network.config
    assert (config.n_embd, config.n_layer, config.n_head, config.n_inner, config.n_positions) == (16, 2, 2, 40, 32)
    assert (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) == (0.1, 0.1, 0.1)
    assert (config.vocab_size, config.eos_token_id, config.bos_token_id, config.pad_token_id) == (VOCAB, 0, 0, None)
    assert network.lm_head.weight is network.transformer.wte.weight
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert [tensor.name for tensor in report.tied] == ["lm_head.weight"]
    assert report.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert report.attention == "sdpa"
    # Residual projections start smaller by sqrt(2 layers) = 2 (the released initialisation).
    wide, _ = _build(_scratch(hidden_size=256))
    block = wide.transformer.h[0]
    assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_our_activation_kernel_is_the_released_function():
    network, _ = _build(_scratch())
    tokens = torch.arange(20)[None]
    released = GPT2LMHeadModel(GPT2Config.from_dict({**network.config.to_dict(), "activation_function": "gelu_new"}))
    released.load_state_dict(network.state_dict())
    with torch.no_grad():
        difference = network.eval()(tokens).logits - released.eval()(tokens).logits
    assert difference.abs().max().item() < 1e-6


def test_the_init_event_is_json_and_small_for_a_new_network():
    _, report = _build(_scratch())
    event = report.to_event()
    assert event["new"]["parameters"] == report.parameters
    assert event["loaded"] == {"tensors": 0, "parameters": 0}
    assert len(json.dumps(event)) < 300


def test_a_checkpoint_that_brings_everything_is_loaded_whole(saved):
    network, report = _build(_pretrained(saved), seed=1)
    assert _same(network, _build(_scratch())[0])
    assert (report.new, report.unexpected) == ((), ())
    assert report.to_event()["loaded"]["parameters"] == report.parameters


def test_a_tensor_that_the_checkpoint_lacks_stops_the_job_by_name(saved):
    _rewrite(saved, lambda tensors: tensors.pop("transformer.h.1.mlp.c_fc.weight"))
    with pytest.raises(
        CheckpointError, match=r"lacks transformer\.h\.1\.mlp\.c_fc\.weight; they would start at random"
    ):
        _build(_pretrained(saved))
    with pytest.raises(CheckpointError, match="take a checkpoint that has them"):
        _build(_pretrained(saved, allow_new=("head",)))


def test_a_missing_head_is_admitted_by_allow_new_and_drawn_from_the_seed(tmp_path):
    config = GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False)
    config.bos_token_id = config.eos_token_id = 0
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    _rewrite(tmp_path, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight; .* model\.allow_new: \[head\]"):
        _build(_pretrained(tmp_path))
    one, report = _build(_pretrained(tmp_path, allow_new=("head",)))
    assert [tensor.name for tensor in report.new] == ["lm_head.weight"]
    assert report.to_event()["new_tensors"][0]["shape"] == (VOCAB, 16)
    assert torch.equal(one.lm_head.weight, _build(_pretrained(tmp_path, allow_new=("head",)))[0].lm_head.weight)


def test_what_the_network_has_no_place_for_is_reported(saved):
    _rewrite(saved, lambda tensors: tensors.update({"transformer.extra.weight": torch.ones(2)}))
    assert _build(_pretrained(saved))[1].to_event()["unexpected"] == ["transformer.extra.weight"]


def test_a_tensor_of_another_shape_is_refused_not_replaced(saved):
    _rewrite(saved, lambda tensors: tensors.update({"transformer.wpe.weight": torch.ones(31, 16)}))
    with pytest.raises(CheckpointError, match=r"transformer\.wpe\.weight: \(31, 16\) instead of \(32, 16\)"):
        _build(_pretrained(saved))


def test_a_vocabulary_or_a_row_that_does_not_fit_is_a_job_error(saved):
    with pytest.raises(JobError, match=r"data\.tokenizer: its 62 ids do not fit the 61 rows"):
        _build(_pretrained(saved), vocab_size=62)
    network, _ = _build(_pretrained(saved), vocab_size=60)
    check_positions(network, sequence_length=32)
    with pytest.raises(JobError, match=r"data\.sequence_length: 33 tokens do not fit the network's 32 positions"):
        check_positions(network, sequence_length=33)


class Planted:
    """What a pickle may hold: something that runs when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickles_of_a_model_are_not_read_beside_safetensors_or_alone(saved, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "tokenizer.pkl"):
        torch.save({"lm_head.weight": Planted(tmp_path / "pwned")}, saved / name)
    _build(_pretrained(saved))
    (saved / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="safetensors"):
        _build(_pretrained(saved))
    assert not (tmp_path / "pwned").exists()
    torch.load(saved / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "pwned").exists(), "the plant is none"


def test_an_absent_model_is_missing_not_a_traceback(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"model\.init\.path: .*empty: no config"):
        _build(_pretrained(tmp_path / "empty"))


def test_the_summed_loss_is_transformers_mean_times_the_count():
    network, _ = _build(_scratch())
    chunk = torch.randint(0, VOCAB, (3, 21), generator=torch.Generator().manual_seed(0))
    answer = CausalLMObjective(network)(chunk[:, :-1], chunk[:, 1:])
    theirs = network(chunk, labels=chunk).loss
    assert answer.predicted.item() == 60
    assert answer.loss_sum.item() == pytest.approx(theirs.item() * 60, rel=1e-6)


def test_ignored_labels_count_nowhere_and_padding_changes_nothing():
    objective = CausalLMObjective(_build(_scratch())[0].eval())
    chunk = torch.randint(0, VOCAB, (1, 13), generator=torch.Generator().manual_seed(0))
    inputs, labels = chunk[:, :-1], chunk[:, 1:]
    whole = objective(inputs, labels)
    longer = torch.nn.functional.pad(inputs, (0, 5)), torch.nn.functional.pad(labels, (0, 5), value=-100)
    padded = objective(*longer, attention_mask=(torch.arange(17) < 12)[None].long())
    assert padded.predicted.item() == whole.predicted.item() == 12
    assert padded.loss_sum.item() == pytest.approx(whole.loss_sum.item(), rel=1e-6)
    nothing = objective(inputs, torch.full_like(labels, -100))
    assert (nothing.loss_sum.item(), nothing.predicted.item()) == (0.0, 0)


def test_the_loss_is_summed_in_float64_under_bf16_autocast_too():
    objective = CausalLMObjective(_build(_scratch())[0])
    chunk = torch.randint(0, VOCAB, (2, 17), generator=torch.Generator().manual_seed(0))
    exact = objective(chunk[:, :-1], chunk[:, 1:]).loss_sum
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = objective(chunk[:, :-1], chunk[:, 1:]).loss_sum
    assert rounded.dtype == torch.float64
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-2)


def test_gradient_checkpointing_gives_the_same_gradients_bit_for_bit():
    chunk = torch.randint(0, VOCAB, (2, 17), generator=torch.Generator().manual_seed(0))

    def gradients(*, checkpointing: bool) -> list[torch.Tensor]:
        network, _ = _build(_scratch())
        network.train()
        calls = []
        network.transformer.h[0].attn.register_forward_hook(lambda *_: calls.append(1))
        if checkpointing:
            enable_gradient_checkpointing(network)
        CausalLMObjective(network)(chunk[:, :-1], chunk[:, 1:]).loss_sum.backward()
        assert len(calls) == (2 if checkpointing else 1)
        return [parameter.grad for parameter in network.parameters()]

    plain, recomputed = gradients(checkpointing=False), gradients(checkpointing=True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recomputed, strict=True))
