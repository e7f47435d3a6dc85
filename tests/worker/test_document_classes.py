"""Networks with a head for a row: as transformers builds them, on the body of a masked model; a row among longer ones
is answered as plain transformers answers it alone; counts against a definition."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.models.canine.modeling_canine import CanineForSequenceClassification as PlainCanine

from runjob.data.classes import Classes
from runjob.data.label_counts import LabelsSummary
from runjob.runner.estimate import label_head, scratch_parameters, text_head
from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_sentences import export_sentences
from runjob.runner.worker.fill_mask import open_filler
from runjob.runner.worker.models.document_classes import DocumentClassesObjective, check_row_family
from runjob.runner.worker.models.init import InitReport, build_network
from runjob.runner.worker.models.row_classes import row_weights
from runjob.runner.worker.row_metrics import document_metrics, tally_rows
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job import Generation
from runjob.schemas.job_model import Model, PretrainedInit, ScratchGpt2, ScratchInit, SequenceClassification
from tests.worker.test_canine import CHARACTERS, SMALL, larger
from tests.worker.test_masked_lm import FAMILIES, LENGTH, VOCABULARY, WORDS

LABELS = ("site", "school", "mail")
JOB = SequenceClassification(kind="sequence_classification", labels=LABELS, class_weights=None)
INITS: dict[str, ScratchInit] = {**FAMILIES, "canine": SMALL}
every_family = pytest.mark.parametrize("family", sorted(INITS))


def tokenizer_of(family: str):
    return CHARACTERS if family == "canine" else WORDS


def build(family: str, task: str = "sequence_classification", *, init=None, labels=LABELS, allow_new=()):
    model = Model(init=init or INITS[family], allow_new=allow_new)
    found: tuple[PreTrainedModel, InitReport] = build_network(
        model, task, tokenizer=tokenizer_of(family), seed=5, labels=labels if task == JOB.kind else ()
    )
    return found


def finished(path: Path) -> PretrainedInit:
    return PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=False)


def rows(family: str, *, lengths=(9, 6, LENGTH)) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of these lengths, padded to the longest, and their mask."""
    generator = torch.Generator().manual_seed(3)
    ids, mask = torch.zeros(len(lengths), max(lengths), dtype=torch.int64), torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, VOCABULARY, (length,), generator=generator)
        mask[row, :length] = 1
    return ids, mask.long()


@every_family
def test_a_new_network_has_an_output_for_each_class_and_as_many_parameters_as_planned(family):
    network, report = build(family)
    check_row_family(network)
    assert network.config.id2label == dict(enumerate(LABELS))
    assert network(torch.ones(2, 5, dtype=torch.int64)).logits.shape == (2, 3)
    init = INITS[family]
    vocabulary = CODE_POINTS if family == "canine" else VOCABULARY
    planned = scratch_parameters(init, vocabulary) - text_head(init, vocabulary) + label_head(init, JOB)
    assert report.parameters == planned


@every_family
def test_a_row_among_longer_ones_is_answered_as_alone(family):
    network, _ = build(family)
    module = DocumentClassesObjective(network.eval(), None).eval()
    ids, mask = rows(family)
    labels = torch.full_like(ids, -100)
    labels[:, 0] = torch.tensor([2, 0, 1])
    with torch.no_grad():
        together = module(ids, labels, mask)
        alone = [
            module(ids[row : row + 1, :length], labels[row : row + 1, :length])
            for row, length in enumerate(mask.sum(1).tolist())
        ]
    assert float(together.loss_sum) == pytest.approx(sum(float(one.loss_sum) for one in alone), rel=1e-5)
    assert int(together.predicted) == 3
    assert torch.equal(together.tally, sum(one.tally for one in alone))


@pytest.mark.parametrize("length", [4, 5, 7, 8, 11, 12, 24])
def test_canine_answers_a_row_among_longer_ones_as_plain_transformers_answers_it_alone(length):
    network, _ = build("canine")
    larger(network, 4.0)
    plain = PlainCanine(network.config).eval()
    plain.load_state_dict(network.state_dict())
    ids, mask = rows("canine", lengths=(length, LENGTH))
    with torch.no_grad():
        ours = network.eval()(ids, mask).logits[0]
        theirs = plain(ids[:1, :length]).logits[0]
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
def test_the_loss_is_the_weighted_sum_over_documents_and_the_count_is_theirs(weights):
    network, _ = build("bert")
    module = DocumentClassesObjective(network.eval(), weights)
    ids, mask = rows("bert")
    labels = torch.full_like(ids, -100)
    labels[0, 0], labels[2, 0] = 2, 1  # of the second row nothing is asked
    with torch.no_grad():
        answer = module(ids, labels, mask)
        logits = network(ids, attention_mask=mask).logits
    each = [float(F.cross_entropy(logits[row][None], torch.tensor([label]))) for row, label in ((0, 2), (2, 1))]
    factors = weights or [1.0] * 3
    assert float(answer.loss_sum) == pytest.approx(factors[2] * each[0] + factors[1] * each[1], rel=1e-5)
    assert int(answer.predicted) == 2
    assert module.train()(ids, labels, mask).tally is None


def test_weights_are_balanced_or_those_of_the_job_and_1_where_it_says_none():
    found = LabelsSummary(counts=(60, 40, 0), spans=0, unmet=0)
    job = lambda weights: SequenceClassification(kind=JOB.kind, labels=LABELS, class_weights=weights)  # noqa: E731
    classes = Classes(labels=LABELS)
    assert row_weights(job("balanced"), classes, found) == [100 / 180, 100 / 120, 1.0]
    assert row_weights(job({"mail": 2.5}), classes, found) == [1.0, 1.0, 2.5]
    assert row_weights(job(None), classes, found) is None


@every_family
def test_a_masked_models_body_is_loaded_and_its_new_head_has_to_be_admitted(family, tmp_path):
    masked, _ = build(family, "mlm")
    masked.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"classifier\..*allow_new: \[head\]"):
        build(family, init=finished(tmp_path))
    network, report = build(family, init=finished(tmp_path), allow_new=("head",))
    body = f"{network.base_model_prefix}."
    assert not [one.name for one in report.new if one.name.startswith(body) and ".pooler." not in one.name]
    after = dict(network.named_parameters())
    for name, value in masked.named_parameters():
        if name.startswith(body):
            assert torch.equal(value, after[name]), name


def test_a_head_of_other_classes_is_refused(tmp_path):
    network, _ = build("bert")
    network.save_pretrained(tmp_path)
    again, report = build("bert", init=finished(tmp_path))
    assert not report.new
    assert torch.equal(again.classifier.weight, network.classifier.weight)
    with pytest.raises(JobError, match=r"its head is of the labels site, school, mail, and the job's of mail, site"):
        build("bert", init=finished(tmp_path), labels=("mail", "site", "school"), allow_new=("head",))


def test_who_asks_it_for_text_is_told_what_it_is_and_a_decoder_has_no_such_head(tmp_path):
    network, _ = build("bert")
    network.save_pretrained(tmp_path)
    with pytest.raises(JobError, match="this model says of which kind texts are, and writes no text"):
        open_filler(tmp_path, device="cpu")
    with pytest.raises(JobError, match="classifies texts; export the run of its backbone, or hf"):
        export_sentences(tmp_path, tmp_path / "sentences")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": None}
    gpt2 = ScratchGpt2(kind="scratch", architecture="gpt2", **sizes, max_position_embeddings=24, dropout=0.0)
    with pytest.raises(JobError, match=r"knows the families bert, .*, canine, not gpt2"):
        check_row_family(build("gpt2", init=gpt2)[0])


def test_a_saved_canine_is_one_of_plain_transformers_which_misses_nothing(tmp_path):
    network, _ = build("canine")
    network.save_pretrained(tmp_path)
    code = (
        "from transformers import AutoModelForSequenceClassification as A; "
        f"m, i = A.from_pretrained({str(tmp_path)!r}, output_loading_info=True); "
        "print(type(m).__module__, m.config.id2label[1], *i['missing_keys'], *i['unexpected_keys'])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert said == ["transformers.models.canine.modeling_canine", "school"]


@pytest.mark.parametrize("family", ["bert", "canine"])
def test_an_export_is_found_equal_wherever_its_tensors_lie_in_memory(family, tmp_path):
    network, _ = build(family)
    network.config.architectures = [type(network).__name__]
    (tmp_path / "tokenizer").mkdir()
    for draw in range(8):
        generator = torch.Generator().manual_seed(draw)
        weights = {name: torch.randn(one.shape, generator=generator) for name, one in network.named_parameters()}
        export_model(
            weights,
            network.config,
            tokenizer=tmp_path / "tokenizer",
            target=tmp_path / f"model-{draw}",
            card="",
            generation=Generation(max_new_tokens=1, temperature=0.0, top_k=1, top_p=1.0),
        )


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_every_class_counts_alike_in_the_mean_of_f1(pairs):
    labels = torch.full((len(pairs), 2), -100)
    labels[:, 0] = torch.tensor([-100 if gold < 0 else gold for gold, _ in pairs])
    said = torch.tensor([one for _, one in pairs])
    metrics, confusion = document_metrics(tally_rows(labels, said, classes=3), Classes(labels=LABELS))
    asked = [(gold, one) for gold, one in pairs if gold >= 0]
    each = []
    for number, name in enumerate(LABELS):
        right = sum(gold == one == number for gold, one in asked)
        there, told = sum(gold == number for gold, _ in asked), sum(one == number for _, one in asked)
        assert metrics[f"recall/{name}"] == (right / there if there else None)
        assert metrics[f"precision/{name}"] == (right / told if told else 0.0 if there else None)
        assert metrics[f"f1/{name}"] == (2 * right / (there + told) if there + told else None)
        each += [2 * right / (there + told)] if there + told else []
    assert metrics["f1_macro"] == (sum(each) / len(each) if each else None)
    assert metrics["accuracy"] == (sum(gold == one for gold, one in asked) / len(asked) if asked else None)
    assert "f1" not in metrics
    assert confusion.labels == LABELS
    assert [sum(row) for row in confusion.tokens] == [sum(gold == number for gold, _ in asked) for number in range(3)]
    parts = [tally_rows(labels[row : row + 1], said[row : row + 1], classes=3) for row in range(len(pairs))]
    assert torch.equal(sum(parts), tally_rows(labels, said, classes=3))
