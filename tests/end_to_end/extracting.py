"""What the tests of `runjob extract` read: sentences with names in them, jobs that learn from these, and a network that
trembles."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

from runjob.data.labels import Span
from runjob.schemas.extraction import Entity

JOB = """
schema: 1
name: {name}
data:
  kind: jsonl
  path: names.jsonl
  target: entities
{data}
  normalize: {{unicode: NFKC, whitespace: collapse}}
  layout: lines
  sequence_length: 32
  tokenizer: {{kind: train, algorithm: wordpiece, vocab_size: 300}}
  split: {{kind: hash, validation: 0.25}}
model:
  init:
    kind: scratch
    architecture: bert
    hidden_size: 32
    num_hidden_layers: 1
    num_attention_heads: 2
    max_position_embeddings: 32
objective: {objective}
training:
  length: 60 steps
  global_batch: 32
  micro_batch: 32
  learning_rate: 1e-2
  checkpoint: {{every: 60 steps}}
evaluation: {{every: 60 steps, best: f1}}
hardware: {{device: cpu, ranks: 1, threads: 1}}
tracking: {{tensorboard: false}}
"""
TAXA = ("Olenellus", "Elrathia kingii", "Triceratops", "Smilodon fatalis")
TIMES = ("Cambrian", "Late Cretaceous", "Devonian")


def sentence(number: int) -> tuple[str, str, str]:
    taxon, time = TAXA[number % 4], TIMES[number // 4 % 3]
    return f"{taxon} lived in the {time}, says page {number}.", taxon, time


def write_names(path: Path) -> None:
    rows = []
    for number in range(240):
        text, taxon, time = sentence(number)
        spans = [(text.index(taxon), len(taxon), "TAXON"), (text.index(time), len(time), "TIME")]
        entities = [{"start": at, "end": at + size, "label": name} for at, size, name in spans]
        related = [{"head": 0, "tail": 1, "label": "OCCURS_IN"}] if number % 4 < 2 else []
        rows.append({"text": text, "entities": entities, "relations": related})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_corpus(path: Path) -> list[str]:
    """Documents of one to seven sentences: with spaces that normalising takes away, a character that it makes two, a
    sentence longer than a row with names at its windows' borders, and one without names."""
    texts = []
    for number in range(60):
        parts = [sentence(number * 7 + more)[0] for more in range(number % 7 + 1)]
        texts.append("  ".join(parts) + (" \ufb01ne\u00a0 \n" if number % 3 else ""))
    texts.append(f"Seen {'by him and him and ' * 12}in the Late Cretaceous with Smilodon fatalis and Triceratops.")
    texts.append("Nothing. \U0001f996 e\u0301 at all")
    path.write_text("".join(json.dumps({"text": text, "id": n}) + "\n" for n, text in enumerate(texts)))
    return texts


def pair_of(number: int) -> tuple[str, Span, Span]:
    text, taxon, time = sentence(number)
    head, tail = text.index(taxon), text.index(time)
    return (
        text,
        Span(begin=head, end=head + len(taxon), label="TAXON"),
        Span(begin=tail, end=tail + len(time), label="TIME"),
    )


def places_of(text: str, names: list[str]) -> Iterator[tuple[str, str, int]]:
    place = 0
    for number, name in enumerate(names):
        place = text.index(name, place)
        yield name, ("TAXON", "TIME")[number % 2], place
        place += len(name)


def span(one: Entity) -> Span:
    return Span(begin=one.start, end=one.end, label=one.label)


class Rounding(torch.nn.Module):
    """A network whose answers depend on how many rows are asked at once, by less than `data/found.py` allows for; and
    less sure of them, so that every decimal is met."""

    def __init__(self, network: torch.nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.device, self.config = network.device, network.config

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        logits = self.network(**inputs).logits / self.temperature
        places = torch.arange(logits.shape[1] * logits.shape[2]).view(1, *logits.shape[1:])
        return SimpleNamespace(logits=logits + 3e-5 * torch.sin((1.0 + places) * len(logits)))
