"""Gaps and beginnings of texts of characters: guesses at the right places, by name where nobody would see them; spans
that are filled one character after another; and what other models answer to that."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch
from transformers import CanineConfig

from runjob.data.characters import CLS, MASK, SEP, open_characters
from runjob.runner.commands_model import COMMANDS, generate_arguments
from runjob.runner.worker import fill_mask, generate
from runjob.runner.worker.generate_characters import CharacterWriter
from runjob.runner.worker.models.canine import CanineForMaskedLM
from runjob.runner.worker.models.canine_ordered import CanineForOrderedCharacters, ordered_places
from runjob.runner.worker.sampling import Sampling

TABLE = 256


def save(kind: type[CanineForMaskedLM], folder: Path) -> Path:
    """A network with clear answers, and its tokenizer."""
    torch.manual_seed(7)
    config = CanineConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        num_hash_functions=4,
        num_hash_buckets=64,
        max_position_embeddings=48,
        character_table=TABLE,
    )
    network = kind(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8) if parameter.dim() > 1 else None
    network.save_pretrained(folder)
    open_characters().save_pretrained(folder)
    return folder


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return save(CanineForMaskedLM, tmp_path / "masked")


@pytest.fixture
def ordered(tmp_path: Path) -> Path:
    return save(CanineForOrderedCharacters, tmp_path / "ordered")


def answers(capsys, program, *arguments: str) -> list[dict]:
    assert program.main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("kind", ["masked", "ordered"])
def test_each_gap_has_its_likeliest_characters_at_its_place_in_the_text(kind, request, capsys):
    model = request.getfixturevalue(kind)
    [filled] = answers(capsys, fill_mask, str(model), "--prompt", "[MASK]oo[MASK]le.com", "--top-k", "3")
    network = {"masked": CanineForMaskedLM, "ordered": CanineForOrderedCharacters}[kind].from_pretrained(model).eval()
    ids = [CLS, MASK, *map(ord, "oo"), MASK, *map(ord, "le.com"), SEP]
    with torch.no_grad():
        probabilities = network(torch.tensor([ids])).logits[0].softmax(-1)
    assert filled["places"] == [0, 3]
    for place, gap in zip((1, 4), filled["gaps"], strict=True):
        best = probabilities[place].topk(3)
        assert [guess["id"] for guess in gap] == best.indices.tolist()
        assert [guess["probability"] for guess in gap] == pytest.approx(best.values.tolist(), rel=1e-5)
    assert len(filled["text"]) == len("google.com")
    assert (filled["text"][1:3], filled["text"][4:]) == ("oo", "le.com")


def test_a_person_reads_where_each_gap_is_and_what_can_not_be_seen_has_a_name(masked, capsys):
    assert fill_mask.main([str(masked), "--prompt", "goo[MASK]le.com", "--top-k", "999"]) == 0
    _, gap = capsys.readouterr().out.splitlines()
    assert gap.startswith("  gap 1 at 3: ")
    names = [guess.rsplit(" ", 1)[0] for guess in gap.removeprefix("  gap 1 at 3: ").split(", ")]
    assert {"a character beyond U+00FF", "U+0020", "U+000A", "U+007F", "a", "é"} <= set(names)
    assert len(set(names)) == len(names) == TABLE + 1  # the comma itself is cut in two


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("google.com", "the prompt has no gap; write [MASK] for each missing character, as in 'goo[MASK]le.com'"),
        ("goo\ue000[MASK]", "the prompt holds U+E000, which CANINE's tokenizer uses itself"),
        ("x" * 60 + "[MASK]", "the text has 61 characters, gaps counted, and the model reads 38; shorten it"),
    ],
)
def test_a_prompt_that_can_not_be_read_is_refused_with_what_to_type(masked, capsys, prompt, said):
    assert fill_mask.main([str(masked), "--prompt", prompt]) == 2
    assert said in capsys.readouterr().err


def test_any_character_may_stand_around_a_gap(masked, capsys):
    [filled] = answers(capsys, fill_mask, str(masked), "--prompt", "漢[MASK]😀.한국")
    assert filled["places"] == [1]
    assert (filled["text"][0], filled["text"][2:]) == ("漢", "😀.한국")


def test_lines_are_answered_until_the_input_ends(masked):
    done = subprocess.run(
        [sys.executable, "-m", "runjob.runner.worker.fill_mask", str(masked), "--interactive"],
        input="goo[MASK]le.com\nnothing\n[MASK]\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in done.stdout.splitlines() if "gap 1 at" in line][1].startswith("  gap 1 at 0: ")
    assert "the prompt has no gap" in done.stderr


def test_a_beginning_is_gone_on_from_by_as_many_characters_as_asked_for(ordered, capsys):
    arguments = (str(ordered), "--complete", "goo", "--span", "4")
    [text] = answers(capsys, generate, *arguments, "--seed", "5")
    assert text["text"].startswith("goo")
    assert (len(text["text"]), text["tokens"], text["ended"]) == (7, 4, "length")
    writer = CharacterWriter(ordered, CanineForOrderedCharacters.from_pretrained(ordered).eval())

    def write(seed: int, temperature: float) -> str:
        sampling = Sampling(max_new_tokens=4, temperature=temperature, top_k=50, top_p=0.95, seed=seed)
        return next(writer.write(["goo"], sampling)).text

    assert write(5, 0.9) == text["text"]
    assert len({write(seed, 0.9) for seed in range(8)}) > 1
    assert len({write(seed, 0.0) for seed in range(8)}) == 1


def test_a_span_is_filled_from_left_to_right_each_character_knowing_those_before_it(ordered, capsys):
    [both] = answers(capsys, generate, str(ordered), "--prompt", "goo[MASK][MASK]e.com", "--greedy")
    network = CanineForOrderedCharacters.from_pretrained(ordered).eval()
    ids = torch.tensor([[CLS, *map(ord, "goo"), MASK, MASK, *map(ord, "e.com"), SEP]])
    order, characters = torch.full_like(ids, -1), torch.zeros_like(ids)
    order[0, 4:6] = torch.arange(2)
    with torch.no_grad():
        hidden = network.canine(ids).last_hidden_state
        for turn in range(2):
            logits = network.ordered_logits(hidden, characters, ordered_places(order))[0][turn]
            logits[0] = -torch.inf  # nothing can be written for a character beyond the table
            characters[0, 4 + turn] = logits.argmax()
    assert [ord(character) for character in both["text"][3:5]] == characters[0, 4:6].tolist()


def test_models_that_can_not_are_refused_with_what_they_can(masked, ordered, capsys, tmp_path, tokenizer, build_small):
    assert generate.main([str(masked), "--complete", "goo"]) == 2
    assert "this model fills gaps and can't go on from a text; type: runjob fill-mask" in capsys.readouterr().err
    assert generate.main([str(ordered), "--complete", "goo[MASK]"]) == 2
    assert "--complete 'goo[MASK]' has gaps of its own; type it with --prompt" in capsys.readouterr().err
    assert generate.main([str(ordered), "--prompt", "go[MASK]le", "--span", "4"]) == 2
    assert "--span 4: the text has gaps of its own, and each is one character" in capsys.readouterr().err
    assert generate.main([str(ordered), "--benchmark"]) == 2
    assert "type: runjob fill-mask --benchmark" in capsys.readouterr().err
    build_small().save_pretrained(tmp_path / "gpt2")
    for file in tokenizer.iterdir():
        (tmp_path / "gpt2" / file.name).write_bytes(file.read_bytes())
    assert generate.main([str(tmp_path / "gpt2"), "--complete", "De"]) == 2
    assert "--complete is for models that fill gaps in order (objective char_ar)" in capsys.readouterr().err


def test_what_is_typed_at_runjob_reaches_the_program():
    parser = ArgumentParser()
    next(command for command in COMMANDS if command.name == "generate").configure(parser)
    args = parser.parse_args(["ID", "--complete", "goo", "--complete", "nu", "--span", "4"])
    words = generate_arguments(args)
    assert words == ["--complete=goo", "--complete=nu", "--span", "4"]
