"""Texts from a model: the same again from a seed, alone or in company, and what a user hears when something is off."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from runjob.runner.worker.export import export_model
from runjob.runner.worker.generate import main
from runjob.runner.worker.prompts import PLAIN, Target, keep_samples
from runjob.runner.worker.sampling import (
    AnySteps,
    Sampling,
    continue_prompts,
    open_steps,
    pad_left,
    pick,
    prefill,
)
from runjob.schemas.errors import JobError, NumericsError
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir

PROMPTS = [[0, 5, 9], [0, 7], [0, 100, 200, 250, 3, 9, 11, 40], [0]]


def _sampling(**changes) -> Sampling:
    return Sampling(**{"max_new_tokens": 24, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "seed": 5, **changes})


@pytest.fixture
def model(tokenizer, tmp_path, build_small, generation) -> Path:
    network = build_small()
    weights = {name: value.detach() for name, value in network.named_parameters()}
    export_model(weights, network.config, tokenizer=tokenizer, target=tmp_path / "m", card="", generation=generation)
    return tmp_path / "m"


JOB = """
schema: 1
name: klein
seed: 11
data: {kind: text, path: sample:dutch, sequence_length: 64, tokenizer: {kind: train, algorithm: bpe, vocab_size: 300}}
model:
  init: {kind: scratch, architecture: gpt2, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
    max_position_embeddings: 64}
objective: {kind: clm}
training: {length: 10 steps, global_batch: 2, micro_batch: 2, learning_rate: 0.001}
evaluation:
  prompts: [De tabel, Kies een cel]
  generation: {max_new_tokens: 9, temperature: 0.7, top_k: 5, top_p: 0.9}
hardware: {device: cpu}
"""


@pytest.fixture
def run(model, tmp_path) -> RunDir:
    """A finished run as `generate` meets it: job.json and model/."""
    run = RunDir(tmp_path / "klein-0123abcd")
    run.path.mkdir()
    (tmp_path / "klein.yaml").write_text(JOB)
    write_job_json(run.job, read_job(tmp_path / "klein.yaml"))
    model.rename(run.model)
    return run


def _texts(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_prompt_in_a_batch_gives_the_text_that_it_gives_alone(build_small, temperature):
    network, sampling = build_small(), _sampling(temperature=temperature)
    together = continue_prompts(network, PROMPTS, sampling, eos_id=0)
    alone = [continue_prompts(network, [prompt], sampling, eos_id=0)[0] for prompt in PROMPTS]
    assert together == alone
    assert len({found.tokens for found in alone}) > 1


def test_a_seed_repeats_the_text_another_one_does_not_and_a_shorter_text_is_a_beginning(build_small):
    network = build_small()
    first = continue_prompts(network, PROMPTS, _sampling(), eos_id=None)
    assert continue_prompts(network, PROMPTS, _sampling(), eos_id=None) == first
    assert continue_prompts(network, PROMPTS, _sampling(seed=6), eos_id=None) != first
    shorter = continue_prompts(network, PROMPTS, _sampling(max_new_tokens=7), eos_id=None)
    assert [found.tokens for found in shorter] == [found.tokens[:7] for found in first]


def test_greedy_is_what_transformers_generates_greedily(build_small):
    network = build_small()
    for prompt in PROMPTS[:3]:
        theirs = network.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=20,
            min_new_tokens=20,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        ours = continue_prompts(network, [prompt], _sampling(temperature=0.0, max_new_tokens=20), eos_id=None)[0]
        # min_new_tokens forbids EOS there; ours would take it, which this model never does here.
        assert list(ours.tokens) == theirs


@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1]], ids=["padded rows", "one row"])
def test_our_way_through_a_gpt2_gives_the_scores_of_transformers(build_small, prompts):
    """Token by token behind the same prompts, over a cache of our own and over theirs."""
    network = build_small()
    batch = pad_left(prompts, device=network.device)
    caches = [DynamicCache(config=network.config) for _ in range(2)]
    with torch.inference_mode():
        for cache in caches:
            prefill(network, batch, cache)
        ours = open_steps(network, caches[0], places=batch.input_ids.shape[1] + 3)
        theirs = AnySteps(network=network, cache=caches[1])
        assert not isinstance(ours, AnySteps)
        mask = batch.attention_mask
        for index in range(3):
            mask = None if mask is None else torch.nn.functional.pad(mask, (0, 1), value=1)
            step = (torch.arange(len(prompts)) + 30 * index, batch.lengths + index, mask)
            torch.testing.assert_close(ours.step(*step), theirs.step(*step), rtol=1e-5, atol=1e-4)


def test_a_gpt2_that_computes_otherwise_and_another_family_go_transformers_way():
    sizes = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "max_position_embeddings": 64}
    for config in (
        AutoConfig.for_model("gpt2", activation_function="relu", **sizes, **ends),
        AutoConfig.for_model("gpt2", scale_attn_by_inverse_layer_idx=True, **sizes, **ends),
        AutoConfig.for_model("llama", intermediate_size=32, **sizes, **ends),
    ):
        torch.manual_seed(1)
        network = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            network.get_output_embeddings().weight.mul_(30)
        greedy = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
        theirs = network.generate(torch.tensor([PROMPTS[0]]), attention_mask=torch.ones(1, 3), **greedy)[0, 3:].tolist()
        [ours] = continue_prompts(network, PROMPTS[:1], _sampling(temperature=0.0, max_new_tokens=12), eos_id=None)
        assert list(ours.tokens) == theirs


def test_a_text_ends_at_eos_at_its_length_or_where_the_positions_end(build_small):
    network = build_small()
    plain = continue_prompts(network, [PROMPTS[0]], _sampling(), eos_id=None)[0]
    assert (len(plain.tokens), plain.ended) == (24, "length")
    stopper = plain.tokens[4]
    before = plain.tokens[: plain.tokens.index(stopper)]
    stopped = continue_prompts(network, [PROMPTS[0]], _sampling(), eos_id=stopper)[0]
    assert (stopped.tokens, stopped.ended) == (before, "eos")
    long, short = continue_prompts(network, [[0] * 60, [0]], _sampling(), eos_id=None)
    assert (len(long.tokens), long.ended) == (4, "positions")
    assert (len(short.tokens), short.ended) == (24, "length")


def test_prompts_that_can_not_be_continued_are_refused(build_small):
    with pytest.raises(JobError, match="the prompt is empty"):
        continue_prompts(build_small(), [[0], []], _sampling(), eos_id=0)
    with pytest.raises(JobError, match="64 tokens and the model 64 positions"):
        continue_prompts(build_small(), [[0] * 64], _sampling(), eos_id=0)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_scores_that_are_not_numbers_stop_the_text(build_small, temperature):
    network = build_small()
    with torch.no_grad():
        network.transformer.ln_f.weight[3] = math.nan
    with pytest.raises(NumericsError, match="NaN or Inf"):
        continue_prompts(network, [[0, 1]], _sampling(temperature=temperature), eos_id=0)


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    draw=st.floats(0, 1, exclude_max=True),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1),
    temperature=st.floats(0.1, 3),
)
def test_only_allowed_tokens_are_picked(scores, draw, top_k, top_p, temperature):
    sampling = _sampling(top_k=top_k, top_p=top_p, temperature=temperature)
    token = pick(torch.tensor([scores]), sampling, torch.tensor([draw], dtype=torch.float64)).item()
    logits = np.float32(scores).astype(np.float64) / temperature
    kept = sorted(logits, reverse=True)[: top_k or len(scores)]
    share = np.exp(kept - kept[0]) / np.exp(kept - kept[0]).sum()
    # A token is allowed as long as the likelier ones have not reached top_p together.
    allowed = [score for score, before in zip(kept, np.cumsum(share) - share, strict=True) if before < top_p + 1e-9]
    assert logits[token] >= min(allowed)


def test_tokens_come_as_often_as_their_probabilities_say():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draws = torch.linspace(0, 1, 10_001, dtype=torch.float64)[:-1]
    sampling = _sampling(temperature=1.0, top_k=0, top_p=1.0)
    counts = torch.bincount(pick(probabilities.log().expand(10_000, 4), sampling, draws), minlength=4)
    assert torch.allclose(counts / 10_000, probabilities, atol=2e-4)
    # top_p 0.7 keeps the first two (0.5 is not enough), in their proportion.
    counts = torch.bincount(
        pick(probabilities.log().expand(10_000, 4), _sampling(temperature=1.0, top_p=0.7), draws), minlength=4
    )
    assert torch.allclose(counts / 10_000, torch.tensor([0.625, 0.375, 0, 0]), atol=2e-4)


def test_a_run_writes_on_from_its_jobs_prompts_with_its_jobs_settings(run, capsys):
    assert main([str(run.path), "--json"]) == 0
    texts = _texts(capsys)
    assert [text["prompt"] for text in texts] == ["De tabel", "Kies een cel"]
    assert all(text["text"].startswith(text["prompt"]) for text in texts)
    assert all(text["tokens"] == 9 or text["ended"] == "eos" for text in texts)
    assert main([str(run.path), "--json", "--seed", "11"]) == 0  # the job's own seed is the default
    assert _texts(capsys) == texts


def test_options_replace_the_jobs_settings_and_prompts(run, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("De rand\n\nDe cursor\n", encoding="utf-8")
    arguments = [str(run.path), "--json", "--prompt", "Typ", "--prompts-file", str(tmp_path / "prompts.txt")]
    assert main([*arguments, "--max-new-tokens", "3", "--greedy"]) == 0
    texts = _texts(capsys)
    assert [text["prompt"] for text in texts] == ["Typ", "De rand", "De cursor"]
    assert {text["tokens"] for text in texts} == {3}
    assert main([*arguments, "--max-new-tokens", "3", "--temperature", "0", "--seed", "99"]) == 0
    assert _texts(capsys) == texts  # greedy draws nothing


def test_a_prompt_begins_with_eos_as_a_document_does_in_training(model, capsys, build_small):
    assert main([str(model), "--prompt", "Kies", "--greedy", "--max-new-tokens", "8", "--json"]) == 0
    text = _texts(capsys)[0]["text"]
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    begun = continue_prompts(
        build_small(), [[0, *words("Kies").input_ids]], _sampling(temperature=0.0, max_new_tokens=8), eos_id=0
    )[0]
    assert text == words.decode([*words("Kies").input_ids, *begun.tokens])


def test_interactive_answers_every_line_even_after_a_wrong_one(model):
    command = [sys.executable, "-m", "runjob.runner.worker.generate", str(model), "--interactive", "--json"]
    done = subprocess.run(command, input="De tabel\n\nKies\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == ["De tabel", "Kies"]
    assert "the prompt is empty" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{model}"], 2, "no prompt"),
        (["{model}", "--prompt", "  "], 2, "the prompt is empty"),
        (["{model}", "--prompt", "De tabel " * 60], 2, "shorten the prompt"),
        (["{model}", "--prompts-file", "{model}/none.txt"], 2, "can't be read"),
        (["{model}/nowhere"], 1, "neither a run directory"),
    ],
)
def test_a_users_mistake_is_one_line_and_an_exit_code(model, capsys, arguments, code, said):
    assert main([argument.format(model=model) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", ["--top-p=0", "--top-p=1.5", "--top-k=-1", "--temperature=-1", "--max-new-tokens=0"])
def test_options_out_of_bounds_are_usage_errors(model, capsys, option):
    with pytest.raises(SystemExit) as stop:
        main([str(model), "--prompt", "De", option])
    assert stop.value.code == 2
    assert option.split("=")[0] in capsys.readouterr().err


def test_a_run_that_has_not_ended_has_nothing_to_write_with(run, capsys):
    run.model.rename(run.path / "elsewhere")
    assert main([str(run.path)]) == 2
    assert "klein-0123abcd: has no model/ yet" in capsys.readouterr().err


def test_a_diverged_model_says_so(model, capsys):
    weights = load_file(model / "model.safetensors")
    weights["transformer.wpe.weight"].fill_(math.nan)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    (model / "SHA256SUMS").unlink()
    assert main([str(model), "--prompt", "De tabel"]) == 1
    assert "NaN or Inf" in capsys.readouterr().err


def test_the_benchmark_measures_both_batch_sizes_against_transformers(model, capsys):
    assert main([str(model), "--benchmark", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in rows] == [1, 8]
    rates = [row[name] for row in rows for name in ("prefill", "decode", "transformers_prefill", "transformers_decode")]
    assert min(rates) > 0
    assert [row["new_tokens"] for row in rows] == [32, 32]  # 64 positions, half of them for the prompt


def test_what_a_run_made_of_its_own_prompts_stays_with_it(tmp_path):
    run = RunDir.create(tmp_path, "small")
    target = Target(model=run.model, run=run, prompts=("een", "twee"), generation=PLAIN, seed=0)
    keep_samples(target, [("een", "een drie")])  # not all of them
    keep_samples(target, [("vier", "vier <b>"), ("twee", "")])  # others
    keep_samples(replace(target, run=None), [("een", ""), ("twee", "")])
    assert not run.samples.exists()
    keep_samples(target, [("een", "een <b>ë</b>"), ("twee", "twee\n")])
    assert [json.loads(line) for line in run.samples.read_text(encoding="utf-8").splitlines()] == [
        {"prompt": "een", "text": "een <b>ë</b>"},
        {"prompt": "twee", "text": "twee\n"},
    ]
