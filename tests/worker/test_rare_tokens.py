"""What an evaluation says of added tokens: the perplexity of labels that are such tokens, and of no other."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken
from torch.nn import functional as F

from runjob.data.added import Added, added_ids, fragmentation
from runjob.data.corruptions import Masking
from runjob.data.cut import Limit
from runjob.data.extend import extend
from runjob.data.masked_rows import MaskedRows
from runjob.data.rows import DocumentRows
from runjob.data.store import Side, TokenizerSummary
from runjob.data.terms import Term
from runjob.data.tokenizers import train_wordpiece
from runjob.data.vocabulary import save_extended
from runjob.data.writer import SideWriter
from runjob.runner.worker.evaluate import Evaluator, measured, note_best
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.runner.worker.state import TrainingState
from runjob.runner.worker.test_side import Finished
from runjob.schemas.errors import DataError
from runjob.schemas.job_model import Model, Replace, ScratchBert, ScratchGpt2

VOCABULARY, CLS, SEP, MASK = 60, 57, 58, 59
ADDED = (31, 32, 33, 34, 35)
WORDS = TokenizerSummary(
    fingerprint="", vocab_size=VOCABULARY, eos_id=SEP, pad_id=0, cls_id=CLS, sep_id=SEP, mask_id=MASK
)
MASKING = Masking(
    probability=0.3,
    replace=Replace(mask=0.8, random=0.1, keep=0.1),
    span=None,
    mask_id=MASK,
    special=np.arange(VOCABULARY) >= CLS,
    ordinary=np.arange(1, CLS),
    boundaries=None,
)
SIZES = {
    "kind": "scratch",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": None,
    "max_position_embeddings": 32,
    "dropout": 0.1,
}
TWO_CUTS = (Limit(rows=4, tokens=None), Limit(rows=None, tokens=64))


@pytest.fixture
def side(tmp_path: Path) -> Side:
    random = np.random.default_rng(4)
    with SideWriter(tmp_path / "side", eos_id=SEP, token_type="uint8") as writer:
        for _ in range(40):
            writer.append("x", random.integers(1, CLS, random.integers(3, 20)).tolist())
        return Side(tmp_path / "side", summary=writer.close(), token_type="uint8")


def by_hand(network, rows) -> tuple[float, int]:
    """Summed loss of every added label, a row at a time, and how many there are."""
    nats, count = 0.0, 0
    network.eval()
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        with torch.no_grad():
            logits = network(torch.from_numpy(row.input_ids)[None]).logits[0].double()
        for place, label in enumerate(row.labels.tolist()):
            if label in ADDED:
                nats -= float(F.log_softmax(logits[place], dim=0)[label])
                count += 1
    return nats, count


def evaluator(rows, limit, exchange, objective="mlm", added=ADDED, fragmentation=None) -> Evaluator:
    return Evaluator(
        rows=rows,
        limit=limit,
        exchange=exchange,
        objective=objective,
        token_bytes=None,
        added=Added(ids=added, fragmentation=fragmentation),
        sources=(),
    )


def test_it_is_the_perplexity_of_the_labels_that_are_added_tokens(side, exchange):
    bert = ScratchBert(**SIZES, architecture="bert")
    network, _ = build_network(Model(init=bert, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    with torch.no_grad():  # not what a fresh network says of every token
        network.get_input_embeddings().weight.mul_(30)
    rows = MaskedRows(DocumentRows(side, 30, truncate=False, eos=False), WORDS, MASKING, seed=1)
    nats, count = by_hand(network, rows)
    assert count > 5
    finished = Finished(MaskedLMObjective(network), torch.device("cpu"))
    for limit in TWO_CUTS:
        metrics = evaluator(rows, limit, exchange, fragmentation=0.25).run(finished)
        assert metrics["rare_token_perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-6)
        assert abs(math.log(metrics["rare_token_perplexity"]) - metrics["loss"]) > 0.01
        assert (metrics["rare_tokens"], metrics["fragmentation"]) == (count, 0.25)


def test_of_the_next_token_too(side, exchange):
    gpt2 = ScratchGpt2(**SIZES, architecture="gpt2")
    network, _ = build_network(Model(init=gpt2, allow_new=()), "clm", tokenizer=WORDS, seed=3)
    rows = DocumentRows(side, 30, truncate=False)
    nats, count = by_hand(network, rows)
    for limit in TWO_CUTS:
        metrics = evaluator(rows, limit, exchange, "clm").run(Finished(CausalLMObjective(network), torch.device("cpu")))
        assert metrics["rare_token_perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-6)


def test_where_none_is_predicted_there_is_no_number_and_no_job_goes_by_it(side, exchange):
    bert = ScratchBert(**SIZES, architecture="bert")
    network, _ = build_network(Model(init=bert, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    rows = MaskedRows(DocumentRows(side, 30, truncate=False, eos=False), WORDS, MASKING, seed=1)
    finished = Finished(MaskedLMObjective(network), torch.device("cpu"))
    metrics = evaluator(rows, TWO_CUTS[0], exchange, added=(MASK,)).run(finished)
    assert (metrics["rare_token_perplexity"], metrics["rare_tokens"]) == (None, 0)
    json.dumps(metrics, allow_nan=False)
    with pytest.raises(DataError, match=r"rare_token_perplexity can't be measured: no added token .* is predicted"):
        measured(metrics, "rare_token_perplexity")
    with pytest.raises(DataError, match="write `loss` as the metric"):
        note_best(TrainingState(step=5), "rare_token_perplexity", metrics)


def test_added_tokens_are_found_in_the_tokenizer_itself(tmp_path):
    tokenizer = train_wordpiece(lambda: ["the sea lily of the sea"] * 3, vocab_size=60, lowercase=True)
    tokenizer.save_pretrained(tmp_path / "base")
    assert added_ids(tmp_path / "base") == ()
    # `the` is in the vocabulary anyway, and [GAP] is special
    tokenizer.add_tokens(["crinoid", "the", AddedToken("trilobite", single_word=True)])
    tokenizer.add_tokens(["[GAP]"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path / "extended")
    assert [tokenizer.convert_ids_to_tokens(token) for token in added_ids(tmp_path / "extended")] == [
        "crinoid",
        "trilobite",
    ]
    assert added_ids(tmp_path) == ()


def test_fragmentation_is_the_share_of_the_terms_that_are_cut(tmp_path):
    alphabet = " ".join("abcdefghijklmnopqrstuvwxyz")
    lines = ["the sea lily of the sea", alphabet, f"x{alphabet.replace(' ', 'x')}"]
    tokenizer = train_wordpiece(lambda: lines, vocab_size=99, lowercase=True)
    save_extended(tokenizer, None, tmp_path / "base")
    assert fragmentation(tmp_path / "base") is None
    terms = [Term(text=text, category="taxa", origin="t") for text in ("crinoid", "sea", "Sea Lily", "trilobite")]
    extended, table = extend(tokenizer, terms, before=None)
    save_extended(extended, table, tmp_path / "whole")
    assert fragmentation(tmp_path / "whole") == 0.0
    # the same table beside the tokenizer as it was: `sea` is one piece of it, the others are cut
    save_extended(tokenizer, table, tmp_path / "cut")
    assert fragmentation(tmp_path / "cut") == 0.75
