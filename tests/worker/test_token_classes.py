"""Networks with a head for each token: as transformers builds them, on the body of a masked model, with labels that
mean what they meant."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel

from runjob.data.labels import Tags
from runjob.runner.estimate import label_head, scratch_parameters, text_head
from runjob.runner.worker.export_sentences import export_sentences
from runjob.runner.worker.fill_mask import open_filler
from runjob.runner.worker.generate import open_writer
from runjob.runner.worker.models.extend import _set_to_means
from runjob.runner.worker.models.init import InitReport, build_network
from runjob.runner.worker.models.kept_gradient import keep_gradients
from runjob.runner.worker.models.token_classes import TokenClassesObjective, check_token_family
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job_model import Model, PretrainedInit, ScratchGpt2, TokenClassification
from tests.worker.test_masked_lm import FAMILIES, LENGTH, VOCABULARY, WORDS, build, every_family

TAGS = Tags(labels=("TAXON", "TIME"), scheme="BILOU")
JOB = TokenClassification(kind="token_classification", labels=TAGS.labels, scheme=TAGS.scheme, class_weights=None)


def tagger(init, *, allow_new=(), tags: Tags = TAGS) -> tuple[PreTrainedModel, InitReport]:
    return build_network(
        Model(init=init, allow_new=allow_new), "token_classification", tokenizer=WORDS, seed=5, labels=tags.names
    )


def finished(path: Path) -> PretrainedInit:
    return PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=False)


@every_family
def test_a_new_network_has_an_output_for_each_tag_and_as_many_parameters_as_planned(family):
    network, report = tagger(FAMILIES[family])
    check_token_family(network)
    assert network.config.id2label == dict(enumerate(TAGS.names))
    assert network(torch.ones(1, 5, dtype=torch.int64)).logits.shape == (1, 5, 9)
    init = FAMILIES[family]
    planned = scratch_parameters(init, VOCABULARY) - text_head(init, VOCABULARY) + label_head(init, JOB)
    assert report.parameters == planned


@every_family
def test_padding_changes_no_answer(family):
    network, _ = tagger(FAMILIES[family])
    module = TokenClassesObjective(network.eval(), TAGS, None).eval()
    ids = torch.randint(3, VOCABULARY, (1, 9), generator=torch.Generator().manual_seed(3))
    labels = torch.randint(0, 9, (1, 9), generator=torch.Generator().manual_seed(4))
    wide = torch.zeros(1, LENGTH, dtype=torch.int64)
    wide[:, :9] = ids
    mask, wide_labels = torch.zeros_like(wide), torch.full_like(wide, -100)
    mask[:, :9], wide_labels[:, :9] = 1, labels
    with torch.no_grad():
        alone, padded = module(ids, labels), module(wide, wide_labels, mask)
    assert float(padded.loss_sum) == pytest.approx(float(alone.loss_sum), rel=1e-5)
    assert torch.equal(padded.tally, alone.tally)


@every_family
def test_a_masked_models_body_is_loaded_and_its_new_head_has_to_be_admitted(family, tmp_path):
    masked = build(FAMILIES[family])
    masked.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"classifier\.bias, classifier\.weight.*allow_new: \[head\]"):
        tagger(finished(tmp_path))
    network, report = tagger(finished(tmp_path), allow_new=("head",))
    assert {tensor.name for tensor in report.new} >= {"classifier.weight", "classifier.bias"}
    assert not [tensor for tensor in report.new if tensor.name.startswith(f"{network.base_model_prefix}.")]
    before, after = masked.get_input_embeddings().weight, network.get_input_embeddings().weight
    assert torch.equal(before, after)


def test_a_head_of_the_same_labels_is_loaded_and_one_of_others_refused(tmp_path):
    network, _ = tagger(FAMILIES["bert"])
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(tmp_path)
    again, report = tagger(finished(tmp_path))
    assert not report.new
    assert torch.equal(again.classifier.weight, network.classifier.weight)
    turned = Tags(labels=("TIME", "TAXON"), scheme="BILOU")
    with pytest.raises(JobError, match=r"its head is of the labels O, B-TAXON, .* and the job's of O, B-TIME"):
        tagger(finished(tmp_path), tags=turned, allow_new=("head",))
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert plain.config.id2label[8] == "U-TIME"


def test_who_asks_a_tagger_for_text_is_told_what_it_is(tmp_path):
    network, _ = tagger(FAMILIES["bert"])
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(tmp_path)
    for ask in (open_filler, open_writer):
        with pytest.raises(JobError, match="this model says of which kind tokens are, and writes no text"):
            ask(tmp_path, device="cpu")
    with pytest.raises(JobError, match="classifies tokens; export the run of its backbone, or hf"):
        export_sentences(tmp_path, tmp_path / "sentences")


def test_a_decoder_has_no_such_head():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": None}
    gpt2 = ScratchGpt2(kind="scratch", architecture="gpt2", **sizes, max_position_embeddings=24, dropout=0.0)
    network, _ = tagger(gpt2)
    with pytest.raises(JobError, match=r"knows the families bert, .*, not gpt2"):
        check_token_family(network)


def test_new_tokens_get_rows_and_gradients_are_kept_though_no_head_is_the_vocabularys():
    network, _ = tagger(FAMILIES["bert"])
    assert network.get_output_embeddings() is None
    table = network.get_input_embeddings().weight
    _set_to_means(network, {7: [3, 5]})
    assert torch.allclose(table[7], (table[3] + table[5]) / 2)
    keep_gradients(network)
