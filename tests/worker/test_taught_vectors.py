"""Vectors that are learnt from a teacher's: the loss against its definition, text by text; the teacher stays as it is
and outside; what comes out is what sentence-transformers computes."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, BertConfig, PreTrainedModel

from runjob.data import tokenizers
from runjob.data.samples import locate_model, locate_tokenizer
from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_run import main
from runjob.runner.worker.export_sentences import modules_of, settings_of
from runjob.runner.worker.models.body import AutoBody
from runjob.runner.worker.models.dense import add_dense, dense_in, through_dense, without_dense
from runjob.runner.worker.models.init import add_vector_layer, build_network, build_teacher
from runjob.runner.worker.models.loading import Source
from runjob.runner.worker.models.taught_vectors import TaughtVectorsObjective, Teacher
from runjob.schemas.errors import JobError
from runjob.schemas.job_data import TrainedWordPiece
from runjob.schemas.job_model import Model
from tests.worker.test_masked_lm import FAMILIES
from tests.worker.test_text_vectors import IGNORED, JOB, SIZES, TEXTS, batch, body

MSE = dataclasses.replace(JOB, loss="mse", teacher="sample:modernbert_teacher")
SAMPLE = Source(field="objective.teacher", path=locate_model("sample:modernbert_teacher"), revision=None)
FAMILY = ["bert", "modernbert"]


def teacher_of(family: str, *, pooling: str = "mean") -> Teacher:
    """Of the student's sizes, with other weights."""
    network = body(family)
    torch.manual_seed(2)
    for weight in network.parameters():
        weight.data += torch.randn_like(weight) / 10
    return Teacher(network=network, pooling=pooling)


@torch.no_grad()
def vector(network: PreTrainedModel, text: list[int], pooling: str) -> torch.Tensor:
    states = network(torch.tensor([text])).last_hidden_state[0]
    return states.mean(0) if pooling == "mean" else states[0]


def single(texts: list[list[int]]) -> dict[str, torch.Tensor]:
    """Rows of one text, as data/text_rows.py has them, filled up."""
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)], labels[row, 0] = torch.tensor(text), 1, row
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@torch.no_grad()
def error(network: PreTrainedModel, teacher: Teacher, text: list[int], pooling: str = "mean") -> float:
    mine = through_dense(network, vector(network, text, pooling)[None])[0]
    numbers = zip(mine.tolist(), vector(teacher.network, text, teacher.pooling).tolist(), strict=True)
    squares = [(one - other) ** 2 for one, other in numbers]
    return sum(squares) / len(squares)


@pytest.mark.parametrize(("pooling", "theirs"), [("mean", "mean"), ("cls", "mean"), ("mean", "cls")])
@pytest.mark.parametrize("family", FAMILY)
def test_the_loss_of_a_pair_is_the_mean_of_its_texts_squared_distances(family, pooling, theirs):
    network, teacher = body("bert"), teacher_of(family, pooling=theirs)
    job = dataclasses.replace(MSE, pooling=pooling, teacher_pooling=theirs)
    with torch.no_grad():
        answer = TaughtVectorsObjective(network, job, teacher, pairs=True).eval()(**batch(TEXTS))
    both = [error(network, teacher, text, pooling) for pair in TEXTS for text in pair]
    assert float(answer.loss_sum) == pytest.approx(sum(both) / 2, rel=1e-5)
    assert int(answer.predicted) == 6
    # what is searched are vectors of length one, as for contrastive
    assert torch.allclose(answer.found.vectors.norm(dim=-1), torch.ones(6, 2))


def test_the_loss_of_a_row_of_one_text_is_its_own_and_no_search_is_asked_for():
    network, teacher, texts = body("bert"), teacher_of("bert"), [first for first, _ in TEXTS]
    module = TaughtVectorsObjective(network, MSE, teacher, pairs=False).eval()
    with torch.no_grad():
        answer, alone = module(**single(texts)), module(**{**single(texts[:1]), "attention_mask": None})
    assert float(answer.loss_sum) == pytest.approx(sum(error(network, teacher, text) for text in texts), rel=1e-5)
    assert (int(answer.predicted), answer.found) == (6, None)
    assert float(alone.loss_sum) == pytest.approx(error(network, teacher, texts[0]), rel=1e-5)


@pytest.mark.parametrize("pairs", [True, False])
def test_rows_lose_the_same_in_one_micro_batch_and_in_several_and_idle_ones_nothing(pairs):
    module = TaughtVectorsObjective(body("bert"), MSE, teacher_of("bert"), pairs=pairs).eval()
    rows = [first + second for first, second in TEXTS]
    with torch.no_grad():
        tensors = batch(TEXTS) if pairs else single(rows)
        whole = module(**tensors)
        parts = [module(**{name: value[at : at + 2] for name, value in tensors.items()}) for at in range(0, 6, 2)]
        tensors["labels"][4:] = IGNORED
        fewer = module(**tensors)
    assert sum(float(part.loss_sum) for part in parts) == pytest.approx(float(whole.loss_sum), rel=1e-5)
    assert float(fewer.loss_sum) == pytest.approx(sum(float(part.loss_sum) for part in parts[:2]), rel=1e-5)
    assert int(fewer.predicted) == 4


@torch.no_grad()
def test_a_student_of_another_width_is_compared_by_the_layer_behind_its_vector():
    network, config = body("bert"), BertConfig(**{**SIZES, "hidden_size": 24})
    teacher = Teacher(network=AutoBody.from_config(config, dtype=torch.float32), pooling="mean")
    add_dense(network, teacher.width, seed=3)
    answer = TaughtVectorsObjective(network, MSE, teacher, pairs=True).eval()(**batch(TEXTS))
    both = [error(network, teacher, text) for pair in TEXTS for text in pair]
    assert float(answer.loss_sum) == pytest.approx(sum(both) / 2, rel=1e-5)
    assert answer.found.vectors.shape == (6, 2, 24)


@torch.no_grad()
def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    teacher = Teacher(network=body("bert"), pooling="mean")
    module = TaughtVectorsObjective(body("bert"), MSE, teacher, pairs=True).eval()
    assert float(module(**batch(TEXTS)).loss_sum) == 0.0


def test_the_teacher_is_no_part_of_what_is_trained_and_stays_as_it_is():
    network, teacher = body("bert"), teacher_of("bert")
    before = teacher.sha256
    module = TaughtVectorsObjective(network, MSE, teacher, pairs=True).train()
    names = [f"network.{name}" for name, _ in network.named_parameters()]
    assert [name for name, _ in module.named_parameters()] == names
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        answer = module(**batch(TEXTS))
        answer.loss_sum.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(answer.loss_sum.item())
    assert losses[-1] < losses[0]
    assert teacher.sha256 == before
    assert not teacher.network.training
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.network.parameters())
    teacher.network.get_input_embeddings().weight.data[0, 0] += 1
    assert teacher.sha256 != before


def test_a_layer_of_another_width_is_new_the_same_by_seed_and_told_of():
    summary = tokenizers.summarise(tokenizers.load_saved(Path(locate_tokenizer("sample:modernbert_teacher"))))
    drawn = torch.get_rng_state()
    found = []
    for seed in (5, 5, 6):
        network, report = build_network(
            Model(init=FAMILIES["bert"], allow_new=()), "sentence_embedding", tokenizer=summary, seed=1
        )
        width = network.config.hidden_size
        wide = add_vector_layer(network, report, width=width + 3, seed=seed)
        assert [tensor.name for tensor in wide.new[len(report.new) :]] == ["dense.weight", "dense.bias"]
        assert wide.parameters == report.parameters + (width + 1) * (width + 3)
        found.append(network.get_submodule("dense").weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), drawn)
    same = add_vector_layer(network := body("bert"), report, width=16, seed=1)
    assert same == report
    assert "dense" not in dict(network.named_children())


def test_a_teacher_of_other_tokens_is_refused_with_what_differs(tmp_path: Path):
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=60, lowercase=True, marks="bert", terms={}
    )
    words = tokenizers.train(lambda: iter(["the trilobite swam in the sea"] * 9), settings)
    tokenizers.save(words, tmp_path)
    with pytest.raises(JobError, match=r"ids are other tokens than in objective\.teacher .*: '.*' here, '.*' there"):
        build_teacher(SAMPLE, tokenizer=tokenizers.summarise(words), tokenizer_at=tmp_path)

    at = Path(locate_tokenizer("sample:modernbert_teacher"))
    more = tokenizers.load_saved(at)
    more.add_tokens(["trilobitomorph"])
    tokenizers.save(more, tmp_path / "more")
    with pytest.raises(JobError, match=r"no vectors for 1 tokens of the job's tokenizer; a teacher reads by its own"):
        build_teacher(SAMPLE, tokenizer=tokenizers.summarise(more), tokenizer_at=tmp_path / "more")
    own = tokenizers.summarise(tokenizers.load_saved(at))
    assert build_teacher(SAMPLE, tokenizer=own, tokenizer_at=at).config.hidden_size == 128


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_transformers_has_the_layer_behind_the_vectors_as_it_was_trained(pooling, tmp_path, generation):
    at = Path(locate_tokenizer("sample:modernbert_teacher"))
    network, report = build_network(
        Model(init=FAMILIES["modernbert"], allow_new=()),
        "sentence_embedding",
        tokenizer=tokenizers.summarise(tokenizers.load_saved(at)),
        seed=5,
    )
    add_vector_layer(network, report, width=24, seed=5)
    network.config.architectures = [type(network).__name__]
    every = {name: weight.detach() for name, weight in network.named_parameters()}
    export_model(
        without_dense(every),
        network.config,
        tokenizer=at,
        target=tmp_path / "model",
        card="",
        generation=generation,
        beside=settings_of(network.config.hidden_size, 9, pooling=pooling, numbers=24),
        modules=modules_of(dense_in(every)),
    )
    to = tmp_path / "copy"
    assert main([str(tmp_path / "model"), "--to", str(to), "--format", "sentence-transformers"]) == 0
    assert "2_Dense/model.safetensors" in (to / "SHA256SUMS").read_text()
    assert json.loads((to / "2_Dense" / "config.json").read_text())["out_features"] == 24
    texts = ["the sea", "a whale swam in the sea and swam and swam"]
    tokenizer, plain = AutoTokenizer.from_pretrained(to), AutoModel.from_pretrained(to).eval()
    for directory in (tmp_path / "model", to):
        theirs = SentenceTransformer(str(directory), device="cpu", local_files_only=True).encode(texts)
        for text, found in zip(texts, theirs, strict=True):
            inputs = tokenizer(text, truncation=True, max_length=9, return_tensors="pt")
            with torch.no_grad():
                states = plain(**inputs).last_hidden_state[0]
                ours = through_dense(network, (states.mean(0) if pooling == "mean" else states[0])[None])[0]
            assert torch.allclose(torch.from_numpy(found), ours, atol=1e-5)
