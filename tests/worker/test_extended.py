"""A checkpoint meets a tokenizer with more tokens: rows at the mean of their old pieces, in every table of its kind."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from runjob.data import tokenizers
from runjob.data.extend import extend
from runjob.data.terms import Term
from runjob.data.vocabulary import save_extended
from runjob.runner.worker.models.init import InitReport, build_network
from runjob.runner.worker.models.loading import Task
from runjob.schemas.errors import JobError
from runjob.schemas.job_data import TrainedUnigram
from runjob.schemas.job_model import (
    Model,
    PretrainedInit,
    ScratchBert,
    ScratchDebertaV2,
    ScratchInit,
    ScratchModernBert,
)

RESERVED = 3
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": None}
COMMON = {"kind": "scratch", **SIZES, "max_position_embeddings": 16, "dropout": 0.0}
DEBERTA = ScratchDebertaV2(architecture="deberta_v2", **COMMON, position_buckets=8)
BERT = ScratchBert(architecture="bert", **COMMON)
MODERNBERT = ScratchModernBert(architecture="modernbert", **COMMON, global_attn_every_n_layers=1, local_attention=8)
CORPUS = ["the trilobite swam in the sea", "the sea of the trilobites", "a sponge in the sea stage"] * 9
UNIGRAM = TrainedUnigram(kind="train", algorithm="unigram", vocab_size=44, lowercase=False, terms={})
TERMS = ("Olenellus", "sponges", "tri", "Stage_10", "Burgess", "seastar")


@pytest.fixture(scope="module")
def base():
    return tokenizers.train(lambda: iter(CORPUS), UNIGRAM)


@pytest.fixture
def extended(base, tmp_path: Path) -> Path:
    return save(base, TERMS, tmp_path / "extended")


def save(base, words: tuple[str, ...], where: Path) -> Path:
    terms = [Term(text=text, category="taxa", origin=f"taxa.txt:{line}") for line, text in enumerate(words, 1)]
    tokenizer, table = extend(base, terms, before=None)
    save_extended(tokenizer, table, where)
    return where


def publish(init: ScratchInit, base, directory: Path, *, reserved: int) -> PreTrainedModel:
    """A checkpoint with its tokenizer beside it, and rows that no token has, as the public DeBERTa-v3 is laid out."""
    summary = tokenizers.summarise(base)
    wide = type(summary)(**{**vars(summary), "vocab_size": summary.vocab_size + reserved})
    network, _ = build_network(Model(init=init, allow_new=()), "mlm", tokenizer=wide, seed=4)
    with torch.no_grad():
        network.get_output_embeddings().bias.normal_()
    network.save_pretrained(directory)
    tokenizers.save(base, directory)
    if isinstance(init, ScratchDebertaV2):
        tensors = load_file(directory / "model.safetensors")
        for name in [name for name in tensors if name.startswith("cls.predictions.")]:
            public = name.replace("cls.predictions.transform.", "lm_predictions.lm_head.")
            tensors[public.replace("cls.predictions.", "lm_predictions.lm_head.")] = tensors.pop(name)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return network


def load(checkpoint: Path, tokenizer: Path, task: Task = "mlm") -> tuple[PreTrainedModel, InitReport]:
    init = PretrainedInit(kind="pretrained", path=str(checkpoint), revision=None, trust_remote_code=False)
    summary = tokenizers.summarise(tokenizers.load_saved(tokenizer))
    return build_network(Model(init=init, allow_new=()), task, tokenizer=summary, seed=1, tokenizer_at=tokenizer)


@pytest.mark.parametrize("init", [DEBERTA, BERT, MODERNBERT], ids=lambda init: init.architecture)
def test_a_new_token_begins_as_the_mean_of_its_old_pieces_in_every_table(init, base, extended, tmp_path):
    old = publish(init, base, tmp_path / "checkpoint", reserved=RESERVED)
    network, report = load(tmp_path / "checkpoint", extended)
    assert report.new == ()
    assert report.to_event()["extended"] == {"rows": 6, "appended": 3}
    rows = len(base)
    words, bias = network.get_input_embeddings().weight, network.get_output_embeddings().bias
    assert network.get_output_embeddings().weight is words
    assert (words.shape[0], bias.shape[0], network.config.vocab_size) == (rows + 6, rows + 6, rows + 6)
    before, before_bias = old.get_input_embeddings().weight, old.get_output_embeddings().bias
    assert torch.equal(words[:rows], before[:rows]) and torch.equal(bias[:rows], before_bias[:rows])
    for number, text in enumerate(TERMS):
        pieces = base(text, add_special_tokens=False).input_ids
        assert len(pieces) > 1
        assert torch.equal(words[rows + number], before[pieces].mean(dim=0))
        assert torch.equal(bias[rows + number], before_bias[pieces].mean(dim=0))


def test_a_new_tokens_logit_begins_as_the_mean_of_its_pieces_logits(base, extended, tmp_path):
    publish(DEBERTA, base, tmp_path / "checkpoint", reserved=0)
    network, _ = load(tmp_path / "checkpoint", extended)
    with torch.no_grad():
        logits = network.eval()(torch.arange(5, 15)[None]).logits
    pieces = base("Olenellus", add_special_tokens=False).input_ids
    torch.testing.assert_close(logits[..., len(base)], logits[..., pieces].mean(dim=-1))


def test_fewer_terms_than_reserved_rows_leave_the_table_as_long_as_it_was(base, tmp_path):
    publish(DEBERTA, base, tmp_path / "checkpoint", reserved=RESERVED)
    network, report = load(tmp_path / "checkpoint", save(base, ("Olenellus",), tmp_path / "one"))
    assert report.to_event()["extended"] == {"rows": 1, "appended": 0}
    assert network.get_input_embeddings().weight.shape[0] == network.config.vocab_size == len(base) + RESERVED


def test_an_extended_checkpoint_keeps_the_rows_that_it_learnt(base, extended, tmp_path):
    publish(BERT, base, tmp_path / "checkpoint", reserved=0)
    network, _ = load(tmp_path / "checkpoint", extended)
    with torch.no_grad():
        network.get_input_embeddings().weight.normal_()
    network.save_pretrained(tmp_path / "trained")
    for file in extended.iterdir():
        (tmp_path / "trained" / file.name).write_bytes(file.read_bytes())
    again, report = load(tmp_path / "trained", extended)
    assert "extended" not in report.to_event()
    assert torch.equal(again.get_input_embeddings().weight, network.get_input_embeddings().weight)


def test_an_output_layer_of_its_own_is_extended_by_its_own_rows(base, extended, tmp_path):
    config = GPT2Config(vocab_size=len(base), n_positions=16, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False)
    config.bos_token_id = config.eos_token_id = 3
    old = GPT2LMHeadModel(config)
    old.save_pretrained(tmp_path / "checkpoint")
    tokenizers.save(base, tmp_path / "checkpoint")
    network, _ = load(tmp_path / "checkpoint", extended, "clm")
    pieces = base("Burgess", add_special_tokens=False).input_ids
    row = len(base) + TERMS.index("Burgess")
    assert torch.equal(network.lm_head.weight[row], old.lm_head.weight[pieces].mean(dim=0))
    assert torch.equal(network.transformer.wte.weight[row], old.transformer.wte.weight[pieces].mean(dim=0))


def test_other_tokens_at_the_old_ids_are_refused_with_what_differs(base, tmp_path):
    publish(BERT, base, tmp_path / "checkpoint", reserved=0)
    settings = {"kind": "train", "algorithm": "unigram", "lowercase": False, "terms": {}}
    other = tokenizers.train(lambda: iter(["ab cd ef gh " * 5]), TrainedUnigram(**settings, vocab_size=30))
    tokenizers.save(other, tmp_path / "other")
    with pytest.raises(
        JobError, match=r"data\.tokenizer: \d+ of its \d+ ids are other tokens .*\(5: .* here, .* there"
    ):
        load(tmp_path / "checkpoint", tmp_path / "other")
    backend = json.loads((tmp_path / "checkpoint" / "tokenizer.json").read_text())
    backend["model"]["vocab"].append(["▁whale", -3.0])
    tokenizers.save(base, tmp_path / "more")
    (tmp_path / "more" / "tokenizer.json").write_text(json.dumps(backend))
    with pytest.raises(JobError, match=r"1 of its pieces are unknown to .* \('▁whale'\) .* data\.tokenizer\.terms"):
        load(tmp_path / "checkpoint", tmp_path / "more")


def test_without_the_checkpoints_tokenizer_it_is_not_guessed_which_terms_are_new(base, extended, tmp_path):
    publish(BERT, base, tmp_path / "checkpoint", reserved=0)
    (tmp_path / "checkpoint" / "tokenizer.json").unlink()
    with pytest.raises(JobError, match=r"only its own tokenizer tells, which is not there"):
        load(tmp_path / "checkpoint", extended)
    tokenizers.save(base, tmp_path / "plain")
    assert load(tmp_path / "checkpoint", tmp_path / "plain")[1].extended is None
