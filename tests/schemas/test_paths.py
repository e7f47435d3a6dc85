"""The files that a job names are found by the schema, and another job has other files in their places."""

from pathlib import Path

import pytest

from runjob.schemas.paths import local_paths, relocated
from runjob.schemas.read import read_job

JOB = """
schema: 1
name: carried
seed: 1
data:
  kind: mix
  sources:
    - {kind: text, path: [texts/a.txt, "sample:dutch", "s3://bucket/b.txt"], documents: line}
    - {kind: jsonl, path: rows.jsonl, field: text}
  layout: pack
  sequence_length: 32
  tokenizer: {kind: pretrained, path: ./tokens, terms: {"one.two": terms.txt}}
  split: {kind: hash, validation: 0.1}
model:
  init:
    {kind: scratch, architecture: gpt2, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
     max_position_embeddings: 32}
objective: {kind: clm}
training: {length: 10 steps, global_batch: 4, micro_batch: 4, learning_rate: 1e-3}
evaluation: {every: never, best: null}
hardware: {device: cpu, ssh: {host: box, config_file: config}}
"""


@pytest.fixture
def resolved(tmp_path: Path):
    (tmp_path / "job.yaml").write_text(JOB, encoding="utf-8")
    return read_job(tmp_path / "job.yaml")


def test_files_of_this_machine_are_found_and_what_lies_elsewhere_is_not(resolved, tmp_path):
    assert local_paths(resolved.values) == {
        "data.sources[0].path[0]": str(tmp_path / "texts/a.txt"),
        "data.sources[1].path": str(tmp_path / "rows.jsonl"),
        "data.tokenizer.path": str(tmp_path / "tokens"),
        "data.tokenizer.terms.one.two": str(tmp_path / "terms.txt"),
    }


def test_a_relocated_job_names_the_new_places_and_is_otherwise_the_same(resolved, tmp_path):
    before = repr(resolved.values)
    moved = relocated(resolved.values, lambda path: path.replace(str(tmp_path), "/there"))
    assert set(local_paths(moved).values()) == {
        "/there/texts/a.txt", "/there/rows.jsonl", "/there/tokens", "/there/terms.txt",
    }  # fmt: skip
    assert repr(moved).replace("/there", str(tmp_path)) == before == repr(resolved.values)
