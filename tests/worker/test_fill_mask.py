"""Gaps of a text and what a masked model puts there: at the right places, each by itself, and what a user hears."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from runjob.data.tokenizers import summarise
from runjob.runner.commands_model import COMMANDS, fill_arguments
from runjob.runner.worker import generate
from runjob.runner.worker.export import export_model, load_network
from runjob.runner.worker.fill_mask import main
from runjob.runner.worker.models.init import build_network
from runjob.schemas.job import Generation
from runjob.schemas.job_model import Model, ScratchBert

WORDS = "[PAD] [UNK] [CLS] [SEP] <gap> the whale swam away with ship a ##s ##ing harpoon .".split()  # noqa: SIM905
GREEDY = Generation(max_new_tokens=1, temperature=0, top_k=0, top_p=1.0)
BERT = ScratchBert(
    kind="scratch",
    architecture="bert",
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=None,
    max_position_embeddings=12,
    dropout=0.0,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network with clear answers, and a tokenizer whose mask has a name of its own."""
    engine = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    engine.normalizer, engine.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, mask_token="<gap>", **special)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    network, _ = build_network(Model(init=BERT, allow_new=()), "mlm", tokenizer=summarise(tokenizer), seed=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(10) if parameter.dim() > 1 else None
    network.config.architectures = ["BertForMaskedLM"]
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    export_model(
        weights,
        network.config,
        tokenizer=tmp_path / "tokenizer",
        target=tmp_path / "model",
        card="",
        generation=GREEDY,
    )
    return tmp_path / "model"


def answers(capsys, *arguments: str) -> list[dict]:
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_gap_has_its_likeliest_tokens_at_its_place_in_one_pass(model, capsys):
    [filled] = answers(capsys, str(model), "--prompt", "the [MASK] swam [MASK] .", "--top-k", "3")
    tokenizer, network = AutoTokenizer.from_pretrained(model), load_network(model)
    ids = [2, *tokenizer.convert_tokens_to_ids(["the", "<gap>", "swam", "<gap>", "."]), 3]
    with torch.no_grad():
        probabilities = network(torch.tensor([ids])).logits[0].softmax(-1)
    for place, gap in zip((2, 4), filled["gaps"], strict=True):
        best = probabilities[place].topk(3)
        assert [guess["id"] for guess in gap] == best.indices.tolist()
        assert [guess["probability"] for guess in gap] == pytest.approx(best.values.tolist(), rel=1e-6)
        assert [guess["token"] for guess in gap] == tokenizer.convert_ids_to_tokens(best.indices.tolist())
        ids[place] = best.indices[0].item()
    assert filled["text"] == tokenizer.decode(ids, skip_special_tokens=True)
    assert filled["prompt"] == "the [MASK] swam [MASK] ."


def test_the_tokenizers_own_name_for_a_gap_is_one_too_and_prompts_come_in_order(model, capsys, tmp_path):
    (tmp_path / "prompts.txt").write_text("a [MASK]\n\n[MASK] away\n")
    found = answers(capsys, str(model), "--prompt", "the <gap>", "--prompts-file", str(tmp_path / "prompts.txt"))
    assert [filled["prompt"] for filled in found] == ["the <gap>", "a [MASK]", "[MASK] away"]
    assert [len(filled["gaps"]) for filled in found] == [1, 1, 1]
    assert [len(filled["gaps"][0]) for filled in found] == [5, 5, 5]
    assert answers(capsys, str(model), "--prompt", "the [MASK]")[0]["gaps"] == found[0]["gaps"]


def test_without_json_a_person_reads_the_text_and_the_guesses(model, capsys):
    assert main([str(model), "--prompt", "the [MASK]", "--top-k", "99"]) == 0
    text, gap = capsys.readouterr().out.splitlines()
    assert gap.startswith("  gap 1: ")
    assert len(gap.split(", ")) == len(WORDS)
    assert text.startswith("the")


def test_the_benchmark_measures_both_batch_sizes_against_transformers(model, capsys):
    assert main([str(model), "--benchmark", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["batch"], row["row_tokens"]) for row in rows] == [(1, 12), (8, 12)]
    assert min(row[name] for row in rows for name in ("fill", "transformers")) > 0
    assert main([str(model), "--benchmark"]) == 0
    assert capsys.readouterr().out.count("transformers") == 2


def test_interactive_answers_every_line_even_after_a_wrong_one(model):
    command = [sys.executable, "-m", "runjob.runner.worker.fill_mask", str(model), "--interactive", "--json"]
    done = subprocess.run(command, input="the [MASK]\nno gap\na [MASK]\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == ["the [MASK]", "a [MASK]"]
    assert "no gap; write [MASK]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{model}"], 2, "no prompt"),
        (["{model}", "--prompt", "the whale"], 2, "the prompt has no gap"),
        (["{model}", "--prompt", "the [MASK]" + " whale" * 20], 2, "has 24 tokens and the model reads 12"),
        (["{model}", "--prompts-file", "{model}/none.txt"], 2, "can't be read"),
        (["{model}/nowhere"], 1, "neither a run directory"),
    ],
)
def test_a_users_mistake_is_one_line_and_an_exit_code(model, capsys, arguments, code, said):
    assert main([argument.format(model=model) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_guesses_are_counted_from_one(model, capsys, value):
    with pytest.raises(SystemExit) as stop:
        main([str(model), "--prompt", "the [MASK]", "--top-k", value])
    assert stop.value.code == 2
    assert "--top-k" in capsys.readouterr().err


def test_a_model_of_the_other_kind_is_sent_to_the_other_command(model, tokenizer, build_small, tmp_path, capsys):
    assert generate.main([str(model), "--prompt", "the whale"]) == 2
    assert "type: runjob fill-mask" in capsys.readouterr().err
    network = build_small()
    weights = {name: value.detach() for name, value in network.named_parameters()}
    writer = tmp_path / "writer"
    export_model(weights, network.config, tokenizer=tokenizer, target=writer, card="", generation=GREEDY)
    assert main([str(writer), "--prompt", "the [MASK]"]) == 2
    assert "type: runjob generate" in capsys.readouterr().err


def test_the_command_passes_on_what_was_typed_and_nothing_else():
    [command] = [command for command in COMMANDS if command.name == "fill-mask"]
    parser = ArgumentParser()
    command.configure(parser)
    assert fill_arguments(parser.parse_args(["latest"])) == []
    typed = [
        "--prompt=a b",
        "--prompt=$(c)",
        "--prompt=-[MASK].com",
        "--top-k",
        "3",
        "--device",
        "cpu",
        "--interactive",
        "--json",
    ]
    assert fill_arguments(parser.parse_args(["latest", *typed])) == typed
