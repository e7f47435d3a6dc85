"""A finished model goes on with a tokenizer that was extended by terms: from one job file, through a stop and a resume,
to an exported model that holds the new words."""

import re
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from runjob.data.terms import read_table
from runjob.schemas.run import RunDir
from tests.end_to_end.conftest import Bench, assert_same_run

pytestmark = pytest.mark.slow

MLM = ("objective={kind: mlm, unit: word}", "evaluation.every=10 steps")
BASE = (
    "data.tokenizer={kind: train, algorithm: wordpiece, vocab_size: 512}",
    "model.init.architecture=bert",
    "training.length=6 steps",
)


def first_weights(run: RunDir) -> tuple[dict[str, object], torch.Tensor]:
    """The `init` event, and the embeddings of the first checkpoint, with the learning rate at nothing."""
    [event] = [record for record in run.read_events() if record["event"] == "init"]
    weights = load_file(run.model / "model.safetensors")
    return event, weights["bert.embeddings.word_embeddings.weight"]


def test_a_model_is_extended_trained_stopped_resumed_and_exported(bench: Bench) -> None:
    base = bench.submit(*MLM, *BASE)
    corpus = (bench.job.parent / "corpus.txt").read_text(encoding="utf-8")
    common = [word for word, _ in Counter(re.findall(r"[a-z]{9,}", corpus)).most_common(30)]
    (bench.job.parent / "words.txt").write_text("\n".join(common), encoding="utf-8")
    tokenizer = f"data.tokenizer={{kind: pretrained, path: {base.model}, terms: {{words: words.txt}}}}"
    init = f"model.init={{kind: pretrained, path: {base.model}}}"
    still = "training.learning_rate=1e-12"  # so that the rows can be compared with what they begin as
    run = bench.submit(*MLM, tokenizer, init, still, "training.stop_after=8 steps", expect=75)
    bench.resume(run, "--set", "training.stop_after=null")
    # the checkpoint's dropout too, which an attempt that begins without an evaluation once did without
    assert_same_run(bench.submit(*MLM, tokenizer, init, still), run)

    table = read_table(run.model)
    assert table is not None and table.base_tokens == 512
    event, rows = first_weights(run)
    assert event["extended"] == {"rows": table.added, "appended": table.added}
    assert rows.shape[0] == 512 + table.added == len(AutoTokenizer.from_pretrained(run.model))
    old, before = AutoTokenizer.from_pretrained(base.model), load_file(base.model / "model.safetensors")
    before_rows = before["bert.embeddings.word_embeddings.weight"]
    for word, token in table.categories["words"].items():
        pieces = old(word, add_special_tokens=False).input_ids
        torch.testing.assert_close(rows[token], before_rows[pieces].mean(dim=0), atol=1e-6, rtol=1e-5)
    network = AutoModelForMaskedLM.from_pretrained(run.model)
    assert network.get_output_embeddings().weight.shape[0] == network.config.vocab_size == rows.shape[0]

    other = "data.tokenizer={kind: train, algorithm: wordpiece, vocab_size: 500, lowercase: true}"
    refused = bench.runjob(bench.job, *[word for one in (*MLM, other, init) for word in ("--set", one)])
    assert (refused.returncode, "ids are other tokens than in model.init.path" in refused.stdout) == (2, True)
