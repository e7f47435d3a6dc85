"""The model card word for word, and that it is gathered from what the run recorded."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from transformers import GPT2Config

from runjob.data.store import FileSummary, LeftOut, SectionSummary, SideSummary, Summary, TokenizerSummary
from runjob.runner.worker.card import SeenOnce, write_card
from runjob.runner.worker.card_facts import _masking, _rows, data_facts, gather_facts
from runjob.schemas.read import read_job
from runjob.schemas.run import RunDir

ROOT = Path(__file__).parent.parent.parent
EVENTS = [
    {
        "event": "start",
        "step": 0,
        "attempt": 1,
        "device": "cpu",
        "device_name": "A processor",
        "ranks": 1,
        "zero": 0,
        "versions": {"torch": "2.13.0", "deepspeed": "0.19.8"},
    },
    {"event": "baseline", "step": 0, "attempt": 1, "method": "interpolated Kneser-Ney bigram", "perplexity": 85.617},
    {"event": "eval", "step": 300, "attempt": 1, "loss": 4.5, "perplexity": 90.017, "bits_per_byte": 1.51},
    {"event": "eval", "step": 600, "attempt": 1, "loss": 4.25, "perplexity": 70.105, "bits_per_byte": 1.42},
]
SUMMARY = Summary(
    format=1,
    fingerprint="f" * 64,
    token_type="uint16",
    train=SideSummary.of(SectionSummary(documents=2191, predicted=642_653, bytes=2_900_000, words=420_000)),
    validation=SideSummary.of(SectionSummary(documents=103, predicted=33_710, bytes=145_000, words=21_000)),
    test=None,
    left_out=LeftOut(bad=0, empty=0, short=0, filtered=0, duplicates=0),
    budget=None,
    tokenizer=TokenizerSummary(
        fingerprint="t" * 64, vocab_size=4096, eos_id=0, pad_id=None, cls_id=None, sep_id=None, mask_id=None
    ),
    files={"train/tokens.bin": FileSummary(size=1, sha256="0" * 64)},
    origin={},
)

CARD = """---
license: mpl-2.0
language: "nl"
library_name: transformers
pipeline_tag: text-generation
---

# gpt2_dutch_tiny

A very small GPT-2 trained on Dutch help texts, to show that everything works.

## Use

```python
from transformers import pipeline

generate = pipeline("text-generation", model="path/to/this/directory")
print(generate('Kies een cel en')[0]['generated_text'])
```

Default settings of `generate`: temperature 0.8, top_k 50, top_p 0.95, at most 60 new tokens.

## Evaluation

On all 33,710 predicted tokens of the validation side, after step 600 (the best by loss):

| | |
|---|---|
| loss (nats per token) | 4.2500 |
| perplexity | 70.11 |
| bits per byte | 1.4200 |
| perplexity of an interpolated Kneser-Ney bigram model on the same tokens | 85.62 |

## Model

- GPT2LMHeadModel, 937,472 parameters (tied ones counted once), fp32
- hidden_size: 128
- num_hidden_layers: 2
- num_attention_heads: 4
- max_position_embeddings: 128
- first weights: random, drawn from the job's seed
- tokenizer: BPE trained on the training documents, 4,096 ids

## Data

- source: sample:dutch (MPL-2.0)
- training: 2,191 documents, 642,654 tokens, 2,900,000 bytes
- validation: 103 documents, 33,711 tokens, 145,000 bytes
- split: 0.05 of the documents for validation, by a hash of seed 42 and document
- rows of 128 tokens, packed; an end-of-text token closes every document and is learnt

## Training

- job `gpt2_dutch_tiny-0123abcd`, seed 42
- 600 of 1,000 planned steps of 8 rows, 614,400 tokens
- learning rate 0.01, cosine to 0.1 of the peak, warm-up over 0.05 of the run
- AdamW, betas 0.9 and 0.95, eps 1e-08, weight decay 0.1 (none on biases and norms)
- precision fp32, on 1 x A processor, ZeRO 0
- torch 2.13.0, deepspeed 0.19.8
"""


def _facts(tmp_path: Path, *, sets=(), step: int = 600):
    run = RunDir(tmp_path / "gpt2_dutch_tiny-0123abcd")
    run.path.mkdir()
    run.events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    job = read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", ["training.learning_rate=0.01", *sets]).job
    config = GPT2Config(n_embd=128, n_layer=2, n_head=4, n_positions=128, architectures=["GPT2LMHeadModel"])
    return gather_facts(
        run, job, SUMMARY, config, parameters=937_472, step=step, planned=1000, tokens=step * 1024, test=None
    )


def test_the_card_of_a_run_word_for_word(tmp_path):
    assert write_card(_facts(tmp_path)) == CARD


def test_the_front_matter_is_yaml_that_keeps_norwegian(tmp_path):
    card = write_card(_facts(tmp_path, sets=["output.language=no"]))
    front = yaml.safe_load(card.split("---\n")[1])
    assert front == {
        "license": "mpl-2.0",
        "language": "no",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
    }


def test_a_masked_model_says_how_to_fill_a_gap_and_what_was_hidden(tmp_path):
    facts = _facts(tmp_path)
    job = read_job(ROOT / "tests" / "cases" / "valid" / "mlm.yaml").job
    masked = dataclasses.replace(
        facts,
        masking=_masking(job.objective),
        data=dataclasses.replace(facts.data, rows=_rows(job.data, job.objective)),
        evaluation=dataclasses.replace(facts.evaluation, bits_per_byte=None, masked_bits_per_byte=2.5, baseline=None),
    )
    card = write_card(masked)
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "fill-mask"
    assert 'fill = pipeline("fill-mask", model="path/to/this/directory")' in card
    assert "- 30 % of words hidden, in runs of up to 5: 100 % of them masked, 0 % replaced by another, 0 % kept" in card
    assert "- rows of 128 tokens, packed, between the tokenizer's special tokens\n" in card
    assert "| bits per byte of what was hidden | 2.5000 |" in card
    assert "the hidden tokens of the whole validation side, the same in every evaluation" in card
    assert "generate" not in card
    assert "end-of-text" not in card


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["layout=lines"], "rows of at most 128 tokens, one document each, longer ones in several;"),
        (["layout=lines", "long_documents=truncate"], "one document each, longer ones cut off there;"),
        (["attention=document"], "rows of 128 tokens, packed, each document attending to itself alone;"),
    ],
)
def test_the_card_says_how_documents_became_rows(tmp_path, sets: list[str], said: str):
    job = read_job(ROOT / "tests" / "cases" / "valid" / "smallest.yaml", [f"data.{one}" for one in sets]).job
    facts = _facts(tmp_path)
    truncated = job.data.long_documents == "truncate"
    data = dataclasses.replace(facts.data, rows=_rows(job.data, job.objective), truncated=truncated)
    card = write_card(dataclasses.replace(facts, data=data))
    assert said in card
    assert ("On the documents of the validation side, as far as a row holds them" in card) == truncated


@pytest.mark.parametrize(
    ("normalize", "said"),
    [
        ("{whitespace: strip}", "- text without white space at its ends; give the model such text\n"),
        (
            "{unicode: NFKC, whitespace: collapse, lowercase: true, idn: unicode, join_terms: true}",
            "- text in Unicode's form NFKC, with one space for all white space, and none at its ends, in lower case, "
            "with host names as they are read, with terms of several words joined as their list has them; give",
        ),
    ],
)
def test_the_card_says_what_was_made_of_text_before_the_model_read_it(tmp_path, normalize: str, said: str):
    sets = [f"data.normalize={normalize}"]
    sets += ["data.tokenizer.terms={words: sample:paleo_taxa}"] if "join" in normalize else []
    assert said in write_card(_facts(tmp_path, sets=sets))


def test_the_test_side_is_one_line_with_its_size(tmp_path):
    seen = SeenOnce(documents=12, tokens=3456, bytes=15_000, metrics={"loss": 1.25, "bits_per_byte": 0.5})
    card = write_card(dataclasses.replace(_facts(tmp_path), test=seen))
    assert (
        "On the test side (12 documents, 3,456 tokens, 15,000 bytes), which was looked at once, with this model: "
        "loss 1.2500, bits per byte 0.5000.\n"
    ) in card


def test_the_card_says_what_was_left_out_and_nothing_where_nothing_was(tmp_path):
    facts = _facts(tmp_path)
    assert "left out" not in write_card(facts)
    left_out = LeftOut(bad=2, empty=1, short=0, filtered=0, duplicates=1200)
    data = data_facts(read_job(ROOT / "tests" / "cases" / "valid" / "smallest.yaml").job, SUMMARY, left_out)
    card = write_card(dataclasses.replace(facts, data=data))
    assert "\n- left out: 2 that can't be read, 1 of white space alone, 1,200 exact copies of an earlier one\n" in card


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("{kind: hash, validation: 0.1, test: 0.2}", "0.1 of the documents for validation and 0.2 for the test, by"),
        ("{kind: first, validation: 10, test: 2000}", "the first 10 documents for validation, the next 2,000 for the"),
        ("{kind: files, validation: a.txt, test: b.txt}", "files of their own for validation and for the test"),
        ("{kind: files, validation: a.txt}", "files of their own for validation\n"),
    ],
)
def test_the_card_says_how_the_sides_came_to_be(tmp_path, split: str, said: str):
    assert f"- split: {said}" in write_card(_facts(tmp_path, sets=[f"data.split={split}"]))


def test_what_is_not_known_is_not_said(tmp_path):
    facts = dataclasses.replace(_facts(tmp_path, step=450), license=None, language=None, description=None)
    card = write_card(facts)
    assert "This model was not evaluated." in card  # step 450 never was; step 600's numbers are not its
    assert "license:" not in card
    assert "language:" not in card
    assert "None" not in card


def test_the_folders_of_this_machine_are_not_published(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "corpus.txt").write_text("tekst")
    card = write_card(_facts(tmp_path, sets=[f"data.path={tmp_path}/secret/corpus.txt"]))
    assert "- source: corpus.txt\n" in card
    assert str(tmp_path) not in card
