"""What the canine-mlm scripts wrote comes in with the same answers, from both of its layouts, and what
is none of them is refused with what was found."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, CanineConfig, CanineModel

from runjob.runner.worker import fill_mask
from runjob.runner.worker.import_canine import main

CONFIG = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "num_hash_functions": 4,
    "num_hash_buckets": 256,
    "type_vocab_size": 3,
}


class Theirs(nn.Module):
    """Their module, said again: the encoder, pooler included, and a head of the position table's size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.canine = CanineModel(CanineConfig(**CONFIG))
        self.mlm_head = nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.LayerNorm(128, eps=1e-5), nn.Linear(128, 256))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(4) if parameter.dim() > 1 else None

    @torch.no_grad()
    def answer(self, ids: list[int]) -> torch.Tensor:
        """As in their training: padded to 128."""
        row, mask = torch.zeros((1, 128), dtype=torch.int64), torch.zeros((1, 128), dtype=torch.int64)
        row[0, : len(ids)], mask[0, : len(ids)] = torch.tensor(ids), 1
        return self.mlm_head(self.canine(row, attention_mask=mask).last_hidden_state)[0, : len(ids)]


@pytest.fixture
def theirs() -> Theirs:
    return Theirs().eval()


@pytest.fixture
def v1(theirs, tmp_path: Path) -> Path:
    folder = tmp_path / "v1"
    folder.mkdir()
    save_file(theirs.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "train_results.txt").write_text("{'train_loss': 2.1}")
    return folder


@pytest.fixture
def v2(theirs, tmp_path: Path) -> Path:
    folder = tmp_path / "best-model"
    theirs.canine.save_pretrained(folder)
    state = {
        "epoch": 2,
        "global_step": 100,
        "mlm_head_state_dict": theirs.mlm_head.state_dict(),
        "best_eval_loss": 1.5,
        "args": argparse.Namespace(lr=1e-5, model_name="google/canine-c"),
    }
    torch.save(state, folder / "training_state.bin")
    return folder


def bring(source: Path, to: Path) -> int:
    return main([str(source), "--format", "canine_mlm", "--to", str(to)])


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_both_layouts_answer_as_their_module_does(layout, theirs, request, tmp_path, capsys):
    assert bring(request.getfixturevalue(layout), tmp_path / "new") == 0
    assert f"({layout})" in capsys.readouterr().out
    network = AutoModelForMaskedLM.from_pretrained(tmp_path / "new").eval()
    for text in ("a.nl", "google.com", "xn--bcher-kva.example" * 3):
        ids = [0xE000, *map(ord, text), 0xE001]
        with torch.no_grad():
            found = network(torch.tensor([ids])).logits[0]
        assert torch.allclose(found, theirs.answer(ids), atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "new").mask_token_id == 0xE000
    assert "canine_mlm" in (tmp_path / "new" / "README.md").read_text()


def test_a_gap_is_hidden_as_they_hid_it_and_found_at_its_own_place(v1, theirs, tmp_path, capsys):
    assert bring(v1, tmp_path / "new") == 0
    capsys.readouterr()
    assert fill_mask.main([str(tmp_path / "new"), "--prompt", "goo[MASK]le.com", "--json"]) == 0
    filled = json.loads(capsys.readouterr().out)
    logits = theirs.answer([0xE000, *map(ord, "goo"), 0xE000, *map(ord, "le.com"), 0xE001])[4]
    best = logits.softmax(-1).topk(5)
    assert filled["places"] == [3]
    assert [guess["id"] for guess in filled["gaps"][0]] == best.indices.tolist()
    assert [guess["probability"] for guess in filled["gaps"][0]] == pytest.approx(best.values.tolist(), rel=1e-3)


class Surprise:
    """What a pickle may hold: something that runs when it is read."""

    def __reduce__(self):
        return print, ("a pickle has run code",)


def test_a_state_that_holds_more_than_values_is_refused_unread(v2, tmp_path, capsys):
    torch.save({"mlm_head_state_dict": Surprise()}, v2 / "training_state.bin")
    assert bring(v2, tmp_path / "new") == 1
    said = capsys.readouterr()
    assert "training_state.bin: not read" in said.err
    assert "argparse.Namespace: builtins.print; save it again" in said.err
    assert "weights_only" not in said.err  # torch's advice is to run the code
    assert "a pickle has run code" not in said.out + said.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no weights", "no model.safetensors there; found train_results.txt"),
        ("no head", "neither of the two layouts of canine_mlm: model.safetensors has no mlm_head.*"),
        ("half a head", "the head's tensors are 0.bias, 0.weight, 2.bias, 2.weight; wanted"),
        ("another tensor", "1 tensors are not those of a CANINE of its sizes, the first canine.extra: (2,) there"),
        ("another network", "lacks canine.char_embeddings.HashBucketCodepointEmbedder_0.weight"),
        ("not safetensors", "model.safetensors: can't be read"),
    ],
)
def test_anything_else_is_refused_with_what_was_found_and_leaves_nothing(v1, tmp_path, capsys, damage, said):
    file = v1 / "model.safetensors"
    tensors = load_file(file)
    match damage:
        case "no weights":
            file.unlink()
        case "no head":
            tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("canine.")}
        case "half a head":
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("mlm_head.3.")}
        case "another tensor":
            tensors["canine.extra"] = torch.zeros(2)
        case "another network":
            tensors = {name.replace("canine.", "bert."): tensor for name, tensor in tensors.items()}
    if damage == "not safetensors":
        file.write_bytes(b"PK\x03\x04")
    elif damage != "no weights":
        save_file(tensors, file, metadata={"format": "pt"})
    assert bring(v1, tmp_path / "new") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{bad", "config.json: can't be read as JSON: Expecting property name"),
        ("[1]", "config.json: model_type none at all, and canine_mlm is of canine"),
        ('{"model_type": "bert"}', "config.json: model_type 'bert', and canine_mlm is of canine"),
        ('{"model_type": "canine", "num_attention_heads": 7}', "its sizes describe no network: The hidden size"),
    ],
)
def test_a_configuration_that_is_none_is_an_error_in_words(v2, tmp_path, capsys, written, said):
    (v2 / "config.json").write_text(written)
    assert bring(v2, tmp_path / "new") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kept", [0, 3, 1000])
def test_a_state_that_is_cut_off_is_an_error_in_words(v2, tmp_path, capsys, kept):
    file = v2 / "training_state.bin"
    file.write_bytes(file.read_bytes()[:kept])
    assert bring(v2, tmp_path / "new") == 1
    said = capsys.readouterr().err
    assert "training_state.bin: can't be read" in said
    assert "weights_only" not in said


def test_a_directory_that_holds_something_is_not_written_to(v1, tmp_path, capsys):
    assert bring(v1, v1) == 2
    assert "exists and is not an empty directory" in capsys.readouterr().err
    assert bring(tmp_path / "nowhere", tmp_path / "new") == 1
    assert "nowhere: no such directory" in capsys.readouterr().err
