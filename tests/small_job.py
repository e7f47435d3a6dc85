"""The smallest job that is one: a GPT-2 of two layers, a text, twenty steps. Its stages are mostly replaced by a small
program, so that commands and launchers are tested without torch."""

JOB = """\
schema: 1
name: small
data:
  kind: text
  path: {path}
  sequence_length: 32
  tokenizer: {{kind: train, algorithm: bpe, vocab_size: 512}}
model:
  init:
    kind: scratch
    architecture: gpt2
    hidden_size: 32
    num_hidden_layers: 2
    num_attention_heads: 2
    max_position_embeddings: 32
objective: {{kind: clm}}
training: {{length: 20 steps, global_batch: 8, micro_batch: 4, learning_rate: 5.0e-4{training}}}
hardware: {{device: cpu, threads: 1{hardware}}}
"""


def small_job(path: str = "text.txt", *, training: str = "", hardware: str = "", more: str = "") -> str:
    """Its text; `training` and `hardware` are further fields of those sections, `more` further sections."""
    added = {name: f", {fields}" if fields else "" for name, fields in (("training", training), ("hardware", hardware))}
    return JOB.format(path=path, **added) + more
