"""What annotated-mpnet wrote comes in with the same answers, from current and older files, and what transformers' MPNet
would compute in another way, or what may run code, is refused."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, MPNetConfig, MPNetForMaskedLM

from runjob.data.pieces import train_wordpiece
from runjob.data.tokenizers import summarise
from runjob.runner.worker import fill_mask
from runjob.runner.worker.import_mpnet import main
from runjob.runner.worker.models.init import build_network
from runjob.schemas.job_model import Model, PretrainedInit

TEXT = ["the sea lily of the sea swam away from the land", "a lily is no fish, and the land is no sea"] * 3
VOCABULARY, FILLED, WIDTH = 60, 128, 16
# Ours -> theirs, typed from their scripts
NAMES = {
    "mpnet.embeddings.word_embeddings.weight": "sentence_encoder.embed_tokens.weight",
    "mpnet.embeddings.position_embeddings.weight": "sentence_encoder.embed_positions.weight",
    "mpnet.embeddings.LayerNorm.": "sentence_encoder.emb_layer_norm.",
    "mpnet.encoder.relative_attention_bias.weight": "sentence_encoder.relative_attention_bias.weight",
    "mpnet.encoder.layer.": "sentence_encoder.layers.",
    ".attention.attn.o.": ".self_attn.out_proj.",
    ".attention.LayerNorm.": ".self_attn_layer_norm.",
    ".intermediate.dense.": ".fc1.",
    ".output.dense.": ".fc2.",
    ".output.LayerNorm.": ".final_layer_norm.",
}
ARGS: dict[str, Any] = {
    "encoder_layers": 2,
    "encoder_embed_dim": WIDTH,
    "encoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "max_positions": 40,
    "activation_fn": "gelu",
    "normalize_before": False,
    "relative_attention_num_buckets": None,
    "relative_attention_max_distance": None,
}


@pytest.fixture
def network() -> MPNetForMaskedLM:
    """A trained model's stand-in, in transformers' form, its table filled up as theirs is."""
    torch.manual_seed(2)
    config = MPNetConfig(
        vocab_size=FILLED,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=42,
        layer_norm_eps=1e-5,
    )
    network = MPNetForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network


def theirs(network: MPNetForMaskedLM) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for ours, value in network.named_parameters():
        name = ours
        for mine, other in NAMES.items():
            name = name.replace(mine, other)
        if ".attention.attn." not in name:
            found[name] = value.detach()
    for number, layer in enumerate(network.mpnet.encoder.layer):
        attention = layer.attention.attn
        for kind in ("weight", "bias"):
            parts = [getattr(getattr(attention, part), kind).detach() for part in "qkv"]
            found[f"sentence_encoder.layers.{number}.self_attn.in_proj_{kind}"] = torch.cat(parts)
    return found | {"lm_head.weight": found["sentence_encoder.embed_tokens.weight"]}


def write(folder: Path, network: MPNetForMaskedLM, *, args: object = None, compiled: bool = False, **more: Any) -> Path:
    """Their file, and beside it the tokenizer, as after a first interval."""
    folder.mkdir(exist_ok=True)
    tokenizer = train_wordpiece(lambda: TEXT, vocab_size=VOCABULARY, lowercase=True, marks="mpnet")
    tokenizer.save_pretrained(folder / "tokenizer")
    states = {f"_orig_mod.{name}" if compiled else name: value for name, value in theirs(network).items()}
    file = folder / "best_checkpoint.pt"
    torch.save({"args": ARGS if args is None else args, "model_states": states, "steps": 100, **more}, file)
    return file


def bring(source: Path, to: Path, *more: str) -> int:
    return main([str(source), "--to", str(to), *more])


@pytest.mark.parametrize(
    ("args", "compiled"),
    [
        (ARGS, False),
        (ARGS, True),
        # as before 0.1.5
        (argparse.Namespace(**{key: ARGS[key] for key in ("encoder_attention_heads", "activation_fn")}), False),
    ],
)
def test_a_checkpoint_answers_as_it_did_without_the_filling_and_starts_a_job(network, args, compiled, tmp_path, capsys):
    source = write(tmp_path / "theirs", network, args=args, compiled=compiled)
    to = tmp_path / "new"
    assert bring(source.parent, to) == 0
    tokenizer = AutoTokenizer.from_pretrained(to)
    cut = FILLED - len(tokenizer)
    assert f"cut by {cut} rows" in capsys.readouterr().out
    again = AutoModelForMaskedLM.from_pretrained(to).eval()
    row = torch.tensor([tokenizer("the sea lily swam away").input_ids])
    with torch.no_grad():
        expected = network(row).logits[:, :, : len(tokenizer)]
        assert torch.equal(again(row).logits, expected)
    init = PretrainedInit(kind="pretrained", path=str(to), revision=None, trust_remote_code=False)
    started, report = build_network(
        Model(init=init, allow_new=()), "plm", tokenizer=summarise(tokenizer), seed=1, tokenizer_at=to
    )
    assert report.new == () and started.config.vocab_size == len(tokenizer)
    capsys.readouterr()
    assert fill_mask.main([str(to), "--prompt", "the [MASK] swam away"]) == 0
    assert "gap 1" in capsys.readouterr().out


class Surprise:
    """What a pickle may hold: something that runs when it is read."""

    def __reduce__(self):
        return print, ("a pickle has run code",)


def test_a_file_that_may_run_code_is_refused_unread_unless_its_owner_vouches_for_it(network, tmp_path, capsys):
    source = write(tmp_path / "theirs", network, surprise=Surprise())
    assert bring(source, tmp_path / "new") == 1
    said = capsys.readouterr()
    assert "a pickle has run code" not in said.out
    assert "argparse.Namespace: builtins.print; if you trust whoever wrote it, add --trust-checkpoint" in said.err
    assert bring(source, tmp_path / "new", "--trust-checkpoint") == 0
    assert "a pickle has run code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"normalize_before": True}, "was trained with --normalize-before"),
        ({"pad_token_id": 0}, "has id 0 for padding, and transformers' MPNet takes 1"),
        ({"relative_attention_max_distance": 256}, "by 32 buckets up to 256"),
        ({"activation_fn": "tanh"}, "has the activation tanh"),
    ],
)
def test_what_transformers_would_compute_in_another_way_is_refused(change, said, network, tmp_path, capsys):
    source = write(tmp_path / "theirs", network, args={**ARGS, **change})
    assert bring(source, tmp_path / "new") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_what_is_no_such_checkpoint_is_said(network, tmp_path, capsys):
    def refusal(*more: str, source: Path) -> str:
        assert bring(source, tmp_path / "new", *more) == 1 or more
        return capsys.readouterr().err

    assert "no such file or directory" in refusal(source=tmp_path / "nowhere")
    assert "no best_checkpoint.pt there; name a .pt" in refusal(source=tmp_path)
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    assert "holds no model_states; found weights" in refusal(source=tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no pickle")
    assert "text.pt: can't be read" in refusal(source=tmp_path / "text.pt")
    states = theirs(network)
    torch.save({"args": {}, "model_states": states}, tmp_path / "other.pt")
    assert "lacks encoder_attention_heads" in refusal(source=tmp_path / "other.pt")
    torch.save({"args": ARGS, "model_states": states}, tmp_path / "other.pt")
    assert "names no tokenizer" in refusal_of_missing(tmp_path, capsys)
    states["sentence_encoder.layers.1.fc1.weight"] = torch.ones(3, 3)
    torch.save({"args": ARGS, "model_states": states}, tmp_path / "other.pt")
    (tmp_path / "theirs").mkdir()
    words = write(tmp_path / "theirs", network).parent / "tokenizer"
    said = refusal("--tokenizer", str(words), source=tmp_path / "other.pt")
    assert (
        "1 tensors are not those of an MPNet of its sizes, the first mpnet.encoder.layer.1.intermediate.dense" in said
    )


def refusal_of_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A tokenizer that is not here is something missing: exit code 2."""
    assert bring(folder / "other.pt", folder / "new") == 2
    return capsys.readouterr().err
