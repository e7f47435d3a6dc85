"""The rows of the table: a record each. A column is told nothing else, so what the record says is alike in all of them:
text, tokenizer, first weights with their dropout, global batch, learning rate (constant: Trainer and runjob count
warm-up from different steps), steps, share of hidden tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.speed import corpora

Sizes = Mapping[str, int | float | str]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Ratio to a peer that must be reached, and the one that would be good."""

    must: float
    stretch: float


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`network`: what the configuration of transformers is given; `objective` and `micro_tokens`: the job's own;
    `length`: of a row at most, in tokens (the peer A pads every row to it); the first `uncounted` steps warm up caches
    and kernels; `counted`: what a second is filled with; `learns_on`: the row whose losses are compared, where a peer
    learns something else on this one."""

    title: str
    peer: str
    text: Callable[[], list[str]]
    tokenizer: Callable[[Sequence[str]], Any] | None
    network: Sizes
    objective: Mapping[str, Any]
    layout: Literal["lines", "pack"]
    length: int
    batch: int
    micro_tokens: int
    learning_rate: float
    steps: int
    uncounted: int
    over_a: Bar
    over_b: Bar
    epochs: int = 1
    counted: Literal["tokens", "predicted"] = "tokens"
    needs_gpu: bool = False
    learns_on: str | None = None

    @property
    def lines(self) -> int | None:
        """That are trained on: so many that every column has computed the same rows when it ends. (Rows of similar
        length together come longest first within each fourth of them, as Trainer sorts; the steps that count are whole
        fourths.) Packed rows are all as long: None, whatever there is."""
        return self.steps * self.batch // self.epochs if self.layout == "lines" else None

    @property
    def probability(self) -> float:
        """Share of tokens that are hidden; of no meaning where all are predicted."""
        return float(self.objective.get("probability", 0.0))


# 80 % masked, 10 % replaced, 10 % left, the default on both sides; 30 % hidden as ModernBERT and its successors do
HIDDEN = {"kind": "mlm", "probability": 0.3}
BERT_22M: Sizes = {
    "model_type": "bert",
    "vocab_size": corpora.BERT,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}
MODERNBERT: Sizes = {
    "model_type": "modernbert",
    "vocab_size": 50_368,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": 1024,
}
DEBERTA: Sizes = {
    "model_type": "deberta-v2",
    "vocab_size": 128_100,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "layer_norm_eps": 1e-7,
    "position_biased_input": False,
}
MPNET: Sizes = {
    **BERT_22M,
    "model_type": "mpnet",
    "vocab_size": 30_527,
    "max_position_embeddings": 514,
    "layer_norm_eps": 1e-5,
}
GPT2_30M: Sizes = {
    "model_type": "gpt2",
    "vocab_size": corpora.GPT2,
    "n_embd": 384,
    "n_layer": 6,
    "n_head": 12,
    "n_positions": 256,
}
MLM_A, MLM_B = Bar(must=5, stretch=6), Bar(must=2, stretch=2.5)
CLM_A, CLM_B = Bar(must=4, stretch=4.8), Bar(must=2, stretch=2.3)

SHORT = Workload(
    title="MLM, BERT 22.7 M, sentences (64)",
    peer="trainer_mlm",
    text=corpora.sentences,
    tokenizer=corpora.wordpiece,
    network=BERT_22M,
    objective=HIDDEN,
    layout="lines",
    length=64,
    batch=32,
    micro_tokens=2048,
    learning_rate=2e-4,
    steps=24,
    uncounted=6,
    over_a=MLM_A,
    over_b=MLM_B,
)
LONG = Workload(
    title="MLM, BERT 22.7 M, paragraphs (128)",
    peer="trainer_mlm",
    text=corpora.paragraphs,
    tokenizer=corpora.wordpiece,
    network=BERT_22M,
    objective=HIDDEN,
    layout="lines",
    length=128,
    batch=32,
    micro_tokens=4096,
    learning_rate=2e-4,
    steps=16,
    uncounted=4,
    over_a=MLM_A,
    over_b=MLM_B,
)
STUDENT = Workload(
    title="MLM, ModernBERT 37 M (12 x 384), paragraphs (128)",
    peer="trainer_mlm",
    text=corpora.paragraphs,
    tokenizer=corpora.wordpiece,
    network=MODERNBERT,
    objective=HIDDEN,
    layout="lines",
    length=128,
    batch=32,
    micro_tokens=4096,
    learning_rate=2e-4,
    steps=16,
    uncounted=4,
    over_a=MLM_A,
    over_b=MLM_B,
)
WORDS = Workload(
    title="whole words, DeBERTa-v3 60 M (6 x 384, 128,100), glosses (64)",
    peer="trainer_mlm",
    text=corpora.glosses,
    tokenizer=corpora.unigram,
    network=DEBERTA,
    objective={"kind": "mlm", "unit": "word", "probability": 0.15},
    layout="lines",
    length=64,
    batch=32,
    micro_tokens=2048,
    learning_rate=2e-4,
    steps=16,
    uncounted=4,
    over_a=Bar(must=4, stretch=5),
    over_b=Bar(must=1.6, stretch=2),
)
CANINE = Workload(
    title="characters, CANINE base 145 M, domain names (128)",
    peer="trainer_canine",
    text=corpora.names,
    tokenizer=None,
    network={"model_type": "canine", "character_table": 16_384},
    objective={
        "kind": "mlm",
        "unit": "char",
        "probability": 0.15,
        "replace": {"mask": 1.0, "random": 0.0, "keep": 0.0},
    },
    layout="lines",
    length=128,
    batch=32,
    micro_tokens=1024,
    learning_rate=5e-5,
    steps=8,
    uncounted=2,
    over_a=Bar(must=12, stretch=15),
    over_b=Bar(must=3, stretch=4),
)
PERMUTED = Workload(
    title="PLM, MPNet 22.7 M (6 x 384), sentences (64), predicted tokens",
    peer="mpnet_loop",
    text=corpora.sentences,
    tokenizer=corpora.mpnet_wordpiece,
    network=MPNET,
    objective={"kind": "plm", "unit": "word", "probability": 0.15},
    layout="lines",
    length=64,
    batch=32,
    micro_tokens=2048,
    learning_rate=2e-4,
    steps=16,
    uncounted=4,
    counted="predicted",
    over_a=Bar(must=4, stretch=6),
    over_b=Bar(must=2, stretch=3),
    learns_on="mpnet_even",
)
# One number of predicted tokens for all rows, from the shortest, is 15 % of each where all are as long; elsewhere the
# peer predicts less a step than runjob, and learns less from it
PERMUTED_EVEN = replace(
    PERMUTED,
    title="PLM, MPNet 22.7 M (6 x 384), rows of 64",
    text=corpora.long_paragraphs,
    batch=16,
    learns_on=None,
)
CAUSAL = Workload(
    title="CLM, GPT-2 30 M, 8 x 256",
    peer="trainer_clm",
    text=corpora.paragraphs,
    tokenizer=corpora.bpe,
    network=GPT2_30M,
    objective={"kind": "clm"},
    layout="pack",
    length=256,
    batch=8,
    micro_tokens=2048,
    learning_rate=2e-4,
    steps=16,
    uncounted=4,
    over_a=CLM_A,
    over_b=CLM_B,
)
# The shapes that one NVIDIA GPU is asked for
CAUSAL_124M = Workload(
    title="CLM, GPT-2 124 M, 32 x 1024",
    peer="trainer_clm",
    text=corpora.paragraphs,
    tokenizer=corpora.bpe,
    network={**GPT2_30M, "n_embd": 768, "n_layer": 12, "n_positions": 1024},
    objective={"kind": "clm"},
    layout="pack",
    length=1024,
    batch=32,
    micro_tokens=16_384,
    learning_rate=2e-4,
    steps=40,
    uncounted=10,
    over_a=CLM_A,
    over_b=Bar(must=1.5, stretch=2),
    needs_gpu=True,
)
STUDENT_BASE = Workload(
    title="MLM, ModernBERT base (22 x 768), paragraphs (512)",
    peer="trainer_mlm",
    text=corpora.paragraphs,
    tokenizer=corpora.wordpiece,
    network={
        **MODERNBERT,
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
    },
    objective=HIDDEN,
    layout="lines",
    length=512,
    batch=128,
    micro_tokens=16_384,
    learning_rate=2e-4,
    steps=40,
    uncounted=10,
    over_a=Bar(must=2, stretch=3),
    over_b=Bar(must=1.5, stretch=2),
    needs_gpu=True,
)
# For the tests of the bench itself: each step reads all 32 lines, so what it must count is known
TINY = Workload(
    title="MLM, BERT, two layers of 32, 32 sentences",
    peer="trainer_mlm",
    text=corpora.sentences,
    tokenizer=corpora.wordpiece,
    network={**BERT_22M, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    objective=HIDDEN,
    layout="lines",
    length=32,
    batch=32,
    micro_tokens=256,
    learning_rate=1e-3,
    steps=6,
    uncounted=2,
    over_a=MLM_A,
    over_b=MLM_B,
    epochs=6,
)
WORKLOADS = {
    "mlm_short": SHORT,
    "mlm_long": LONG,
    "modernbert": STUDENT,
    "words": WORDS,
    "canine": CANINE,
    "mpnet": PERMUTED,
    "clm": CAUSAL,
    "clm_124m": CAUSAL_124M,
    "modernbert_base": STUDENT_BASE,
    "mpnet_even": PERMUTED_EVEN,
    "tiny": TINY,
}
# Rows that others or the tests ask for
UNASKED = ("mpnet_even", "tiny")
