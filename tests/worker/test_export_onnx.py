"""Masked models as ONNX: onnxruntime answers as torch does, for rows of any length, and what can't be shown to is not
left behind."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertForMaskedLM, CanineConfig, CanineTokenizer, PreTrainedTokenizerFast

from runjob.runner.worker.export_run import main
from runjob.runner.worker.models.canine import CanineForMaskedLM


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    engine = Tokenizer(models.WordPiece({f"w{number}": number for number in range(80)}, unk_token="w1"))
    PreTrainedTokenizerFast(tokenizer_object=engine, pad_token="w0", unk_token="w1").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def canine(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    config = CanineConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_hash_buckets=64,
        max_position_embeddings=300,
    )
    config.character_table = 300
    CanineForMaskedLM(config).save_pretrained(tmp_path / "canine")
    CanineTokenizer().save_pretrained(tmp_path / "canine")
    return tmp_path / "canine"


def differences(text: str) -> list[float]:
    return [float(line.split()[-1]) for line in text.splitlines() if " tokens " in line]


def test_onnxruntime_answers_rows_of_any_length_as_torch_does_and_a_line_says_how_closely(bert, tmp_path, capsys):
    assert main([str(bert), "--to", str(tmp_path / "out"), "--format", "onnx"]) == 0
    told = differences(capsys.readouterr().out)
    assert len(told) == 10
    assert max(told) < 1e-4
    network = BertForMaskedLM.from_pretrained(bert).eval()
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    for rows in (torch.randint(80, (3, 17)), torch.randint(80, (1, 40))):
        mask = torch.ones_like(rows)
        mask[0, -5:] = 0
        [found] = session.run(None, {"input_ids": rows.numpy(), "attention_mask": mask.numpy()})
        with torch.no_grad():
            expected = network(rows, attention_mask=mask).logits.numpy()
        np.testing.assert_allclose(found[mask.bool().numpy()], expected[mask.bool().numpy()], atol=1e-5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json"} <= names
    assert "model.safetensors" not in names


def test_canine_has_a_file_for_each_length_that_answers_as_the_network_does_without_padding(canine, tmp_path, capsys):
    assert main([str(canine), "--to", str(tmp_path / "out"), "--format", "onnx", "--length", "24"]) == 0
    told = differences(capsys.readouterr().out)
    assert len(told) == 10
    assert max(told) < 1e-4
    assert [path.name for path in (tmp_path / "out").glob("*.onnx")] == ["model-24.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model-24.onnx")
    text = [0xE000, *map(ord, "google.com"), 0xE001]
    rows, mask = np.zeros((1, 24), dtype=np.int64), np.zeros((1, 24), dtype=np.int64)
    rows[0, : len(text)], mask[0, : len(text)] = text, 1
    [found] = session.run(None, {"input_ids": rows, "attention_mask": mask})
    with torch.no_grad():
        expected = CanineForMaskedLM.from_pretrained(canine).eval()(torch.tensor([text])).logits[0].numpy()
    np.testing.assert_allclose(found[0, : len(text)], expected, atol=1e-5)


def test_a_length_that_canine_has_no_rows_of_is_refused_with_one_that_it_has(canine, bert, tmp_path, capsys):
    for length in ("23", "8", "140"):
        assert main([str(canine), "--to", str(tmp_path / "out"), "--format", "onnx", "--length", length]) == 2
        assert f"--length {length}: CANINE's rows are 4 k + 8 long" in capsys.readouterr().err
    assert main([str(canine), "--to", str(tmp_path / "out"), "--format", "onnx", "--length", "72"]) == 2
    assert "--length 72: the model has 64 positions; write 64" in capsys.readouterr().err
    assert main([str(bert), "--to", str(tmp_path / "out"), "--format", "onnx", "--length", "24"]) == 2
    assert "--length is for CANINE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_can_not_be_shown_to_answer_alike_is_not_left_behind(canine, tmp_path, capsys):
    weights = load_file(canine / "model.safetensors")
    weights["head.decoder.bias"] *= float("nan")
    weights["head.decoder.bias"] += float("nan")
    save_file(weights, canine / "model.safetensors", metadata={"format": "pt"})
    assert main([str(canine), "--to", str(tmp_path / "out"), "--format", "onnx", "--length", "12"]) == 1
    assert "model-12.onnx: onnxruntime answers differently (nan at 2 tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_goes_on_from_a_text_is_refused(tokenizer, build_small, tmp_path, capsys):
    build_small().save_pretrained(tmp_path / "gpt2")
    config = json.loads((tmp_path / "gpt2" / "config.json").read_text())
    config["architectures"] = ["GPT2LMHeadModel"]
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(config))
    assert main([str(tmp_path / "gpt2"), "--to", str(tmp_path / "out"), "--format", "onnx"]) == 2
    assert "--format onnx is for models of objective mlm, and this one is of clm; write hf" in capsys.readouterr().err
