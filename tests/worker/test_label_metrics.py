"""Entities found, counted from predictions: held against CoNLL's own way to count, the same however rows are cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import BertConfig, BertForTokenClassification

from runjob.data.label_counts import LabelsSummary
from runjob.data.labels import Tags
from runjob.runner.worker.label_metrics import IGNORED, Confusion, tag_metrics, tally_tags
from runjob.runner.worker.models.token_classes import TokenClassesObjective, weights_of
from runjob.schemas.job_model import TokenClassification

LABELS = ("TAXON", "TIME")
BIO = Tags(labels=LABELS, scheme="BIO")
ROWS = st.lists(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=6, max_size=6), min_size=1, max_size=4
)


def conll_chunks(names: list[str]) -> set[tuple[str, int, int]]:
    """The chunks of a sentence, after the rules of CoNLL-2002 for tags where every chunk begins with B: one ends before
    a tag that is not I of its own type, and one begins at B."""
    chunks, begun = set(), None
    for place, name in enumerate([*names, "O"]):
        letter, _, kind = name.partition("-")
        if begun is not None and (letter, kind) != ("I", begun[0]):
            chunks.add((begun[0], begun[1], place))
            begun = None
        if letter == "B":
            begun = (kind, place)
    return chunks


@given(ROWS)
def test_precision_recall_and_f1_are_conlls(rows):
    labels = torch.tensor([[IGNORED if gold < 0 else gold for gold, _ in row] for row in rows])
    said = torch.tensor([[one for _, one in row] for row in rows])
    right = predicted = there = accurate = asked = 0
    by_label = {label: [0, 0, 0] for label in LABELS}
    for row in rows:
        # nothing is said, and nothing is there, where nothing is asked
        wanted = conll_chunks([BIO.names[max(gold, 0)] for gold, _ in row])
        found = conll_chunks([BIO.names[one if gold >= 0 else 0] for gold, one in row])
        right, predicted, there = right + len(wanted & found), predicted + len(found), there + len(wanted)
        for counts, chunks in ((0, wanted & found), (1, found), (2, wanted)):
            for kind, _, _ in chunks:
                by_label[kind][counts] += 1
        asked += sum(gold >= 0 for gold, _ in row)
        accurate += sum(gold == one for gold, one in row)
    metrics, confusion = tag_metrics(tally_tags(labels, said, BIO), BIO)

    def expected(right, predicted, there):
        return {
            "f1": 2 * right / (predicted + there) if predicted + there else None,
            "precision": right / predicted if predicted else (0.0 if there else None),
            "recall": right / there if there else None,
        }

    wanted = expected(right, predicted, there)
    wanted |= {f"{name}/{kind}": value for kind in LABELS for name, value in expected(*by_label[kind]).items()}
    assert metrics == {**wanted, "accuracy": accurate / asked if asked else None}
    assert sum(map(sum, confusion.tokens)) == asked


@given(ROWS)
def test_tallies_of_parts_add_up_to_that_of_the_whole(rows):
    labels = torch.tensor([[IGNORED if gold < 0 else gold for gold, _ in row] for row in rows])
    said = torch.tensor([[one for _, one in row] for row in rows])
    parts = [tally_tags(labels[row : row + 1], said[row : row + 1], BIO) for row in range(len(rows))]
    assert torch.equal(sum(parts), tally_tags(labels, said, BIO))


def test_an_entity_whose_end_is_wrong_is_no_entity_found_and_the_confusion_says_what_was_taken_for_what():
    names = {name: number for number, name in enumerate(BIO.names)}
    gold = ["O", "B-TAXON", "I-TAXON", "O", "B-TIME", "B-TIME"]
    said = ["O", "B-TAXON", "O", "O", "B-TIME", "B-TAXON"]
    labels, answers = (torch.tensor([[names[name] for name in row]]) for row in (gold, said))
    metrics, confusion = tag_metrics(tally_tags(labels, answers, BIO), BIO)
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (1 / 3, 1 / 3, 1 / 3)
    assert (metrics["f1/TAXON"], metrics["recall/TIME"]) == (0.0, 0.5)
    assert metrics["accuracy"] == 4 / 6
    assert confusion == Confusion(labels=("O", *LABELS), tokens=((2, 0, 0), (1, 1, 0), (0, 1, 1)))


def test_a_tag_that_goes_on_with_nothing_is_no_entity():
    labels, said = torch.tensor([[1, 2, 0]]), torch.tensor([[2, 2, 0]])
    metrics, _ = tag_metrics(tally_tags(labels, said, BIO), BIO)
    assert (metrics["precision"], metrics["recall"]) == (0.0, 0.0)


def job(weights) -> TokenClassification:
    return TokenClassification(kind="token_classification", labels=LABELS, scheme="BIO", class_weights=weights)


def test_weights_are_those_of_the_label_whatever_the_tag_and_balanced_ones_make_every_label_count_alike():
    assert weights_of(job(None), BIO, None) is None
    assert weights_of(job({"TIME": 3.0, "O": 0.5}), BIO, None) == [0.5, 1.0, 1.0, 3.0, 3.0]
    found = LabelsSummary(counts=(80, 2, 8, 10, 0), spans=12, unmet=0)
    balanced = weights_of(job("balanced"), BIO, found)
    each = [count * weight for count, weight in zip(found.counts, balanced, strict=True)]
    assert each[0] == pytest.approx(each[1] + each[2]) == pytest.approx(each[3] + each[4])
    assert sum(each) == pytest.approx(100)  # so that the loss of a guess stays what it is
    assert weights_of(job("balanced"), BIO, LabelsSummary(counts=(8, 0, 0, 2, 0), spans=2, unmet=0))[1] == 1.0


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 1.0, 3.0, 3.0]])
def test_the_loss_is_a_sum_over_asked_tokens_each_by_the_weight_of_its_label(weights):
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=5
    )
    torch.manual_seed(1)
    network = BertForTokenClassification(config).eval()
    module = TokenClassesObjective(network, BIO, weights).eval()
    ids, mask = torch.randint(1, 30, (3, 7)), torch.ones(3, 7, dtype=torch.int64)
    mask[1, 4:] = 0
    labels = torch.randint(0, 5, (3, 7)).masked_fill(mask == 0, IGNORED)
    labels[0, 2] = IGNORED
    with torch.no_grad():
        answer = module(ids, labels, mask)
        logits = network(ids, attention_mask=mask).logits.double()
    each = weights or [1.0] * 5
    expected = sum(
        each[label] * float(F.cross_entropy(logits[row, place][None], torch.tensor([label])))
        for row, line in enumerate(labels.tolist())
        for place, label in enumerate(line)
        if label != IGNORED
    )
    assert float(answer.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert int(answer.predicted) == int((labels != IGNORED).sum()) == 17
    assert torch.equal(answer.tally, tally_tags(labels, logits.argmax(-1), BIO))
    assert module.train()(ids, labels, mask).tally is None, "nobody asks while training"
