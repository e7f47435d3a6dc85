"""The peers do what they say, so that their speed is that of the same work."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """They are scripts, and import one another as such."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "peers"))


def test_the_loop_of_mpnet_computes_the_two_streams_that_runjob_does():
    from mpnet_loop import Batch, TwoStreams
    from transformers import MPNetConfig, MPNetForMaskedLM

    from runjob.runner.worker.models.permuted_lm import PermutedLMObjective

    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = MPNetConfig(vocab_size=40, max_position_embeddings=40, **sizes)
    network = MPNetForMaskedLM(config).eval()
    torch.nn.init.normal_(network.mpnet.encoder.relative_attention_bias.weight)
    text = torch.tensor([[0, 11, 12, 13, 14, 15, 2], [0, 21, 22, 23, 2, 1, 1]])
    hidden = torch.tensor([[4, 2], [3, 1]])  # places, in the order in which they are predicted
    masks = torch.tensor([[4, 12], [4, 30]])
    rest = torch.tensor([[0, 6, 1, 3, 5], [0, 4, 5, 6, 2]])
    places = torch.cat([rest, hidden], dim=1)
    batch = Batch(
        ids=torch.cat([text.gather(1, places), masks, masks], dim=1),
        positions=torch.cat([places, hidden, hidden], dim=1),
        padding=text.gather(1, places) == 1,
        targets=text.gather(1, hidden),
        tokens=12,
    )
    order = torch.full_like(text, -1).scatter(1, hidden, torch.tensor([[0, 1], [0, 1]]))
    labels = torch.full_like(text, -100).scatter(1, hidden, batch.targets)
    inputs = text.scatter(1, hidden, masks)
    with torch.no_grad():
        theirs = TwoStreams(network)(batch)
        ours = network.lm_head(PermutedLMObjective(network).hidden(inputs, labels, order, (text != 1).long())[:, -2:])
    torch.testing.assert_close(theirs, ours)


def test_the_loop_of_mpnet_predicts_as_many_of_every_row_as_its_shortest_allows(tmp_path: Path):
    from mpnet_loop import Collator

    from runjob.data.pieces import train_wordpiece

    lines = ["the whale swam away from the old ship", "a sailor"]
    tokenizer = train_wordpiece(lambda: lines, vocab_size=80, lowercase=True, marks="mpnet")
    collate = Collator(tokenizer, argparse.Namespace(probability=0.3, seed=1))
    rows = tokenizer(lines)["input_ids"]
    batch = collate(rows)
    shortest = min(len(row) - 2 for row in rows)
    p = max(1, round(0.3 * shortest))
    assert batch.targets.shape == (2, p)
    assert batch.tokens == sum(map(len, rows))
    for row, ids, targets in zip(rows, batch.ids, batch.targets, strict=True):
        length = ids.shape[0] - 2 * p
        assert sorted(ids[:length].tolist()) == sorted(row + [1] * (length - len(row)))
        assert ids[length - p : length].tolist() == targets.tolist()


def test_whole_words_are_hidden_with_all_their_pieces_and_to_the_share():
    from whole_words import WholeWordCollator

    from runjob.data.unigram import train_unigram

    lines = ["the whale swam away from the whaling ship", "whales swimming shipwards"] * 30
    tokenizer = train_unigram(lines, vocab_size=40, lowercase=False)
    collate = WholeWordCollator(tokenizer, mlm_probability=0.3)
    torch.manual_seed(1)
    rows = [tokenizer(line, return_special_tokens_mask=True) for line in lines]
    batch = collate(rows * 10)
    ids, labels = batch["input_ids"], batch["labels"]
    hidden = labels != -100
    special = torch.tensor(tokenizer.all_special_ids)
    assert not torch.isin(labels[hidden], special).any()
    begins = np.array([piece.startswith("▁") for piece in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
    shares = []
    for row, label in zip(rows * 10, labels, strict=True):
        tokens = np.array(row["input_ids"])
        words = np.cumsum(begins[tokens])[1:-1]
        said = (label != -100).numpy()[1 : len(tokens) - 1]
        for word in np.unique(words):
            assert len(set(said[words == word].tolist())) == 1
            shares.append(said[words == word][0])
    assert 0.27 < np.mean(shares) < 0.33
    assert 0.75 < (ids[hidden] == tokenizer.mask_token_id).float().mean() < 0.85
