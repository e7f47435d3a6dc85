"""An encoder as the library Sentence-Transformers reads it: the body's own vectors, their mean, and how to get it."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from runjob.data import tokenizers
from runjob.runner.worker.export_run import main
from runjob.runner.worker.models.init import build_network
from runjob.schemas.job_data import TrainedWordPiece
from runjob.schemas.job_model import Model, ScratchBert, ScratchModernBert

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
COMMON = {"kind": "scratch", **SIZES, "max_position_embeddings": 32, "dropout": 0.0}
FAMILIES = {
    "modernbert": ScratchModernBert(
        architecture="modernbert", **COMMON, global_attn_every_n_layers=1, local_attention=8
    ),
    "bert": ScratchBert(architecture="bert", **COMMON),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_directory_holds_the_bodys_vectors_and_says_that_their_mean_is_the_sentence(family, tmp_path: Path, capsys):
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=60, lowercase=True, marks="bert", terms={}
    )
    words = tokenizers.train(lambda: iter(["the trilobite swam in the sea"] * 9), settings)
    summary = tokenizers.summarise(words)
    network, _ = build_network(Model(init=FAMILIES[family], allow_new=()), "mlm", tokenizer=summary, seed=2)
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(tmp_path / "model")
    tokenizers.save(words, tmp_path / "model")
    to = tmp_path / "sentences"
    assert main([str(tmp_path / "model"), "--to", str(to), "--format", "sentence-transformers"]) == 0
    assert "a sentence becomes 16 numbers" in capsys.readouterr().out

    modules = json.loads((to / "modules.json").read_text())
    assert [(one["path"], one["type"].rpartition(".")[2]) for one in modules] == [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
    ]
    pooling = json.loads((to / "1_Pooling" / "config.json").read_text())
    assert {name for name, value in pooling.items() if value is True} == {"pooling_mode_mean_tokens"}
    assert pooling["word_embedding_dimension"] == 16
    assert json.loads((to / "sentence_bert_config.json").read_text())["max_seq_length"] == 32

    body = AutoModel.from_pretrained(to).eval()
    asked = AutoTokenizer.from_pretrained(to)("the sea", return_tensors="pt")
    with torch.no_grad():
        theirs = network.eval().base_model(asked.input_ids, attention_mask=asked.attention_mask).last_hidden_state
        assert torch.equal(body(asked.input_ids, attention_mask=asked.attention_mask).last_hidden_state, theirs)


def test_a_decoder_is_refused(tmp_path: Path, build_small, tokenizer, capsys):
    network = build_small()
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(tmp_path / "model")
    assert main([str(tmp_path / "model"), "--to", str(tmp_path / "to"), "--format", "sentence-transformers"]) == 2
    assert "is of the family gpt2; sentences are read by encoders of tokens" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
