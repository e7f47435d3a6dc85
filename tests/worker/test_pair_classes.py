"""A head that asks two tokens: held against one matrix over both states, and its counts against a definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import BertConfig, BertForTokenClassification

from runjob.data.pairs import Relations
from runjob.runner.worker.label_metrics import IGNORED
from runjob.runner.worker.models.pair_classes import PairClassesObjective
from runjob.runner.worker.row_metrics import pair_metrics, tally_rows

RELATIONS = Relations(labels=("IS_A", "PART_OF"))
IDS = {"[E1]": 30, "[/E1]": 31, "[E2]": 32, "[/E2]": 33}


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
def test_a_row_is_told_by_one_matrix_over_the_states_at_both_marks(weights):
    config = BertConfig(
        vocab_size=34, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=6
    )
    torch.manual_seed(1)
    network = BertForTokenClassification(config).eval()
    module = PairClassesObjective(network, IDS, weights).eval()
    ids, mask = torch.randint(1, 30, (4, 9)), torch.ones(4, 9, dtype=torch.int64)
    mask[1, 7:] = 0
    places = [(1, 4), (5, 2), (0, 6), (3, 8)]
    labels = torch.full((4, 9), IGNORED)
    for row, (first, second) in enumerate(places):
        ids[row, first], ids[row, second] = IDS["[E1]"], IDS["[E2]"]
        if row < 3:  # of the last one nothing is asked
            labels[row, first] = row
    with torch.no_grad():
        answer = module(ids, labels, mask)
        states = network.bert(ids, attention_mask=mask).last_hidden_state
        matrix = torch.cat([network.classifier.weight[:3], network.classifier.weight[3:]], dim=1)
        bias = network.classifier.bias[:3] + network.classifier.bias[3:]
        both = torch.stack([torch.cat([states[row, a], states[row, b]]) for row, (a, b) in enumerate(places)])
        logits = both @ matrix.T + bias
    each = weights or [1.0] * 3
    expected = sum(each[row] * float(F.cross_entropy(logits[row][None], torch.tensor([row]))) for row in range(3))
    assert float(answer.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert int(answer.predicted) == 3
    assert torch.equal(answer.tally, tally_rows(labels, logits.argmax(-1), classes=3))
    assert module.train()(ids, labels, mask).tally is None


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_f1_is_of_relations_alone_micro_and_macro(pairs):
    labels = torch.full((len(pairs), 2), IGNORED)
    labels[:, 1] = torch.tensor([IGNORED if gold < 0 else gold for gold, _ in pairs])
    said = torch.tensor([one for _, one in pairs])
    metrics, confusion = pair_metrics(tally_rows(labels, said, classes=3), RELATIONS)
    asked = [(gold, one) for gold, one in pairs if gold >= 0]

    def f1(numbers: set[int]) -> float | None:
        right = sum(gold == one for gold, one in asked if gold in numbers)
        total = sum(gold in numbers for gold, _ in asked) + sum(one in numbers for _, one in asked)
        return 2 * right / total if total else None

    assert metrics["f1"] == f1({1, 2})
    assert (metrics["f1/IS_A"], metrics["f1/PART_OF"]) == (f1({1}), f1({2}))
    each = [value for value in (f1({1}), f1({2})) if value is not None]
    assert metrics["f1_macro"] == (sum(each) / len(each) if each else None)
    assert metrics["accuracy"] == (sum(gold == one for gold, one in asked) / len(asked) if asked else None)
    assert confusion.labels == ("NO_RELATION", "IS_A", "PART_OF")
    assert sum(map(sum, confusion.tokens)) == len(asked)
    parts = [tally_rows(labels[row : row + 1], said[row : row + 1], classes=3) for row in range(len(pairs))]
    assert torch.equal(sum(parts), tally_rows(labels, said, classes=3))
