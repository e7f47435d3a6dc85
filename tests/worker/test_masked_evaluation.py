"""What an evaluation of a masked model says: the hidden tokens' loss, and its bits over the bytes of their text."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from runjob.data.corruptions import IGNORED, Masking
from runjob.data.cut import Limit
from runjob.data.masked_rows import MaskedRows
from runjob.data.rows import DocumentRows
from runjob.data.store import Side, TokenizerSummary
from runjob.data.writer import SideWriter
from runjob.runner.worker.evaluate import Evaluator
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.runner.worker.test_side import Finished
from runjob.schemas.errors import DataError
from runjob.schemas.job_model import Model, Replace, ScratchBert

VOCABULARY, CLS, SEP, MASK = 60, 57, 58, 59
WORDS = TokenizerSummary(
    fingerprint="", vocab_size=VOCABULARY, eos_id=SEP, pad_id=0, cls_id=CLS, sep_id=SEP, mask_id=MASK
)
MASKING = Masking(
    probability=0.3,
    replace=Replace(mask=1.0, random=0.0, keep=0.0),
    span=None,
    mask_id=MASK,
    special=np.arange(VOCABULARY) >= CLS,
    ordinary=np.arange(1, CLS),
    boundaries=None,
)
BERT = ScratchBert(
    kind="scratch",
    architecture="bert",
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=None,
    max_position_embeddings=32,
    dropout=0.1,
)


@pytest.fixture
def side(tmp_path: Path) -> Side:
    """Forty documents of 3 to 20 tokens."""
    random = np.random.default_rng(4)
    with SideWriter(tmp_path / "side", eos_id=SEP, token_type="uint8") as writer:
        for _ in range(40):
            writer.append("x", random.integers(1, CLS, random.integers(3, 20)).tolist())
        return Side(tmp_path / "side", summary=writer.close(), token_type="uint8")


def masked_rows(side: Side, masking: Masking = MASKING) -> MaskedRows:
    return MaskedRows(DocumentRows(side, 30, truncate=False, eos=False), WORDS, masking, seed=1)


def test_loss_and_bits_are_those_of_the_hidden_tokens_and_the_same_every_time(side, exchange):
    network, _ = build_network(Model(init=BERT, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    rows, token_bytes = masked_rows(side), np.arange(VOCABULARY) % 7
    nats, predicted, text = 0.0, 0, 0
    network.eval()
    for number in range(len(rows)):
        row = rows.row(number, position=None)
        labels = torch.from_numpy(row.labels)
        with torch.no_grad():
            logits = network(torch.from_numpy(row.input_ids)[None]).logits[0]
        nats += float(F.cross_entropy(logits.double(), labels, ignore_index=IGNORED, reduction="sum"))
        predicted += int((labels != IGNORED).sum())
        text += sum(token % 7 for token in labels.tolist() if token != IGNORED)
    finished = Finished(MaskedLMObjective(network), torch.device("cpu"))
    for limit in (Limit(rows=4, tokens=None), Limit(rows=None, tokens=64)):
        evaluator = Evaluator(
            rows=rows, limit=limit, exchange=exchange, objective="mlm", token_bytes=token_bytes, added=None, sources=()
        )
        metrics = evaluator.run(finished)
        assert set(metrics) == {"loss", "perplexity", "masked_bits_per_byte"}
        assert metrics["loss"] == pytest.approx(nats / predicted, rel=1e-6)
        assert metrics["masked_bits_per_byte"] == pytest.approx(nats / math.log(2) / text, rel=1e-6)
        assert evaluator.run(finished) == metrics


def test_another_share_hidden_is_measured_beside_as_if_it_were_alone(side, exchange):
    network, _ = build_network(Model(init=BERT, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    finished = Finished(MaskedLMObjective(network), torch.device("cpu"))
    more = masked_rows(side, Masking(**{**vars(MASKING), "probability": 0.4}))
    settings = {"limit": Limit(rows=4, tokens=None), "exchange": exchange, "objective": "mlm", "token_bytes": None}
    rest = {**settings, "added": None, "sources": ()}
    alone = Evaluator(rows=masked_rows(side), **rest).run(finished)
    other = Evaluator(rows=more, **rest).run(finished)
    both = Evaluator(rows=masked_rows(side), others={"hiding_40": more}, **rest).run(finished)
    assert other["loss"] != alone["loss"]
    theirs = {"loss_hiding_40": other["loss"], "perplexity_hiding_40": other["perplexity"]}
    assert both == {**alone, **theirs}
    nothing = masked_rows(side, Masking(**{**vars(MASKING), "special": np.ones(VOCABULARY, dtype=np.bool_)}))
    found = Evaluator(rows=masked_rows(side), others={"hiding_1": nothing}, **rest).run(finished)
    assert (found["loss_hiding_1"], found["perplexity_hiding_1"]) == (None, None)


def test_without_the_bytes_of_tokens_there_are_no_bits_per_byte(side, exchange):
    network, _ = build_network(Model(init=BERT, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    evaluator = Evaluator(
        rows=masked_rows(side),
        limit=Limit(rows=4, tokens=None),
        exchange=exchange,
        objective="mlm",
        token_bytes=None,
        added=None,
        sources=(),
    )
    assert set(evaluator.run(Finished(MaskedLMObjective(network), torch.device("cpu")))) == {"loss", "perplexity"}


def test_a_validation_side_in_which_nothing_is_hidden_is_refused(side, exchange):
    network, _ = build_network(Model(init=BERT, allow_new=()), "mlm", tokenizer=WORDS, seed=3)
    nothing = Masking(**{**vars(MASKING), "special": np.ones(VOCABULARY, dtype=np.bool_)})
    evaluator = Evaluator(
        rows=masked_rows(side, nothing),
        limit=Limit(rows=4, tokens=None),
        exchange=exchange,
        objective="mlm",
        token_bytes=None,
        added=None,
        sources=(),
    )
    with pytest.raises(DataError, match=r"nothing is hidden in the whole validation side"):
        evaluator.run(Finished(MaskedLMObjective(network), torch.device("cpu")))
