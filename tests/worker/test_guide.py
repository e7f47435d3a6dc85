"""A student's first weights: the teacher's in principal components, or tiled, and everything else as if new."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from runjob.data import tokenizers
from runjob.runner.lines import event_line
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.schemas.errors import JobError, MissingError
from runjob.schemas.job_data import TrainedWordPiece
from runjob.schemas.job_model import GuideInit, Model, ScratchModernBert, TileInit

CORPUS = ["the trilobite swam in the sea", "the sea of the trilobites", "a sponge in the old sea stage"] * 9
VOCAB = 60
SIZES = {
    "num_hidden_layers": 3,
    "max_position_embeddings": 32,
    "dropout": 0.0,
    "global_attn_every_n_layers": 2,
    "local_attention": 8,
}
WIDE = {"hidden_size": 24, "num_attention_heads": 6, "intermediate_size": 40}
NARROW = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 16}
TABLE = "model.embeddings.tok_embeddings.weight"
LAYER = ("attn.Wqkv.weight", "attn.Wo.weight", "mlp.Wi.weight", "mlp.Wo.weight")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=VOCAB, lowercase=True, marks="bert", terms={}
    )
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizers.save(tokenizers.train(lambda: iter(CORPUS), settings), directory)
    return directory


def summary(tokenizer: Path):
    return tokenizers.summarise(tokenizers.load_saved(tokenizer))


def save_teacher(tokenizer: Path, directory: Path, *, seed: int = 3, **sizes) -> Path:
    """With its tokenizer, and weights and norms as uneven as those of a trained model."""
    init = ScratchModernBert(kind="scratch", architecture="modernbert", **{**SIZES, **WIDE, **sizes})
    network, _ = build_network(Model(init=init, allow_new=()), "mlm", tokenizer=summary(tokenizer), seed=seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * torch.linspace(0.05, 0.5, parameter.shape[-1]))
    network.save_pretrained(directory)
    tokenizers.save(tokenizers.load_saved(tokenizer), directory)
    return directory


@pytest.fixture(scope="module")
def teacher(tokenizer, tmp_path_factory) -> Path:
    return save_teacher(tokenizer, tmp_path_factory.mktemp("teacher"))


def guide(teacher: Path, **changes) -> GuideInit:
    given = {"kind": "guide", "revision": None, "layers": "first", "embedding_scale": "teacher", **SIZES, **NARROW}
    return GuideInit(teacher=str(teacher), **{**given, **changes})


def tiled(teacher: Path, **changes) -> TileInit:
    return TileInit(teacher=str(teacher), **{"kind": "tile", "revision": None, **SIZES, **NARROW, **changes})


def build(init, tokenizer: Path, *, seed: int = 7, task="mlm", **more):
    model = Model(init=init, allow_new=())
    return build_network(model, task, tokenizer=summary(tokenizer), tokenizer_at=tokenizer, seed=seed, **more)


def weights(network) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().astype(np.float64) for name, value in network.named_parameters()}


def of_teacher(teacher: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy().astype(np.float64) for name, value in load_file(teacher / "model.safetensors").items()}


def components(table: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the principal axes by another road than the product's: a singular value decomposition."""
    mean = table.mean(axis=0)
    axes = np.linalg.svd(table - mean, full_matrices=False)[2][:width]
    largest = axes[np.arange(width), np.abs(axes).argmax(axis=1)]
    return mean, (axes * np.sign(largest)[:, None]).T


def expected_layer(given: dict[str, np.ndarray], layer: int, axes: np.ndarray) -> dict[str, np.ndarray]:
    """The table of the method, written out for these sizes."""
    here = {name: given[f"model.layers.{layer}.{name}"] for name in LAYER}
    query, key, value = (here["attn.Wqkv.weight"][24 * part : 24 * part + 12] @ axes for part in range(3))
    one, gate = (here["mlp.Wi.weight"][40 * part : 40 * part + 16] @ axes for part in range(2))
    return {
        "attn.Wqkv.weight": np.concatenate([query, key, value]),
        "attn.Wo.weight": axes.T @ here["attn.Wo.weight"][:, :12],
        "mlp.Wi.weight": np.concatenate([one, gate]),
        "mlp.Wo.weight": axes.T @ here["mlp.Wo.weight"][:, :16],
    }


def test_embeddings_and_first_layer_are_the_teachers_in_its_principal_components(teacher, tokenizer):
    network, report = build(guide(teacher), tokenizer)
    given, mine = of_teacher(teacher), weights(network)
    mean, axes = components(given[TABLE], 12)
    projected = (given[TABLE] - mean) @ axes
    pad = network.config.pad_token_id
    assert np.abs(projected[pad]).max() > 0.01
    projected[pad] = 0.0
    np.testing.assert_allclose(mine[TABLE], projected, atol=1e-5)
    for name, value in expected_layer(given, 0, axes).items():
        np.testing.assert_allclose(mine[f"model.layers.0.{name}"], value, atol=1e-5)
    centred = given[TABLE] - mean
    share = np.square(centred @ axes).sum() / np.square(centred).sum()
    assert report.to_event()["explained_variance"] == pytest.approx(share, rel=1e-9)
    assert 0.5 < share < 1


def test_everything_else_is_as_new_as_in_a_network_without_a_teacher(teacher, tokenizer):
    network, _ = build(guide(teacher), tokenizer)
    init = ScratchModernBert(kind="scratch", architecture="modernbert", **SIZES, **NARROW)
    fresh, _ = build(init, tokenizer)
    projected = {TABLE, *(f"model.layers.0.{name}" for name in LAYER)}
    for (name, mine), (other, new) in zip(network.named_parameters(), fresh.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(mine, new) != (name in projected), name
    assert network.config.to_dict() == fresh.config.to_dict()
    assert network.decoder.weight is network.model.embeddings.tok_embeddings.weight
    norms = [value for name, value in network.named_parameters() if "norm" in name]
    assert len(norms) == 8
    assert all(torch.equal(norm, torch.ones(12)) for norm in norms)


def test_the_report_names_every_tensor_once_as_projected_fresh_or_tied(teacher, tokenizer):
    network, report = build(guide(teacher), tokenizer)
    event = report.to_event()
    named = [*event["projected"], *(tensor["name"] for tensor in event["new_tensors"])]
    assert sorted(named) == sorted(name for name, _ in network.named_parameters())
    assert event["tied"] == ["decoder.weight"]
    assert event["projected"] == {TABLE: TABLE, **{f"model.layers.0.{n}": f"model.layers.0.{n}" for n in LAYER}}
    assert report.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert event["uniform_loss"] == pytest.approx(math.log(VOCAB))
    line = event_line({"event": "init", "step": 0, **event}, steps=None)
    assert line is not None
    share = f"{event['explained_variance']:.1%}"
    assert f"5 tensors projected  {share} of its embeddings' variance kept  18 new  loss of a guess 4.0943" in line
    json.dumps(event)


def test_teacher_and_seed_decide_every_byte_on_any_number_of_threads(teacher, tokenizer):
    one, _ = build(guide(teacher, layers="uniform"), tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 3)
    try:
        two, _ = build(guide(teacher, layers="uniform"), tokenizer)
        assert torch.get_num_threads() == threads + 3
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other, _ = build(guide(teacher, layers="uniform"), tokenizer, seed=8)
    assert torch.equal(other.get_input_embeddings().weight, one.get_input_embeddings().weight)
    assert not torch.equal(other.head.dense.weight, one.head.dense.weight)


def test_what_the_checkpoint_of_the_teacher_lacks_changes_no_new_tensor(teacher, tokenizer, tmp_path):
    """A bare encoder, such as embedding models are published as."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in teacher.iterdir():
        (bare / file.name).write_bytes(file.read_bytes())
    tensors = {
        name: value for name, value in load_file(bare / "model.safetensors").items() if name.startswith("model.")
    }
    save_file(tensors, bare / "model.safetensors", metadata={"format": "pt"})
    one, _ = build(guide(teacher), tokenizer)
    two, _ = build(guide(bare), tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    _, report = build(tiled(bare), tokenizer)
    assert {tensor.name for tensor in report.new} == {"head.dense.weight", "head.norm.weight", "decoder.bias"}


def test_uniform_projects_layers_that_lie_evenly_apart(tokenizer, tmp_path):
    deep = save_teacher(tokenizer, tmp_path, num_hidden_layers=7)
    network, report = build(guide(deep, layers="uniform"), tokenizer)
    given, mine = of_teacher(deep), weights(network)
    _, axes = components(given[TABLE], 12)
    for layer, origin in {0: 0, 1: 2, 2: 4}.items():
        for name, value in expected_layer(given, origin, axes).items():
            np.testing.assert_allclose(mine[f"model.layers.{layer}.{name}"], value, atol=1e-5)
            assert report.to_event()["projected"][f"model.layers.{layer}.{name}"] == f"model.layers.{origin}.{name}"
    assert len(report.to_event()["projected"]) == 13


def loss_at_start(network) -> float:
    ids = torch.randint(5, VOCAB, (64, 20), generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.arange(20) % 3 == 0, ids, -100)
    with torch.no_grad():
        answer = MaskedLMObjective(network.eval())(ids, labels)
    return float(answer.loss_sum / answer.predicted)


def test_a_large_teacher_begins_above_guessing_and_the_scale_of_a_fresh_network_does_not(tokenizer, tmp_path):
    teacher = save_teacher(tokenizer, tmp_path)
    tensors = load_file(teacher / "model.safetensors")
    tensors[TABLE] *= 5
    save_file(tensors, teacher / "model.safetensors", metadata={"format": "pt"})
    as_it_is, told = build(guide(teacher), tokenizer)
    rescaled, corrected = build(guide(teacher, embedding_scale="fresh"), tokenizer)
    assert loss_at_start(as_it_is) > math.log(VOCAB) + 1
    assert loss_at_start(rescaled) == pytest.approx(math.log(VOCAB), abs=0.05)
    before, after = told.to_event(), corrected.to_event()
    assert before["embedding_rms"] == pytest.approx(before["projected_rms"], rel=0.02)  # the row of the padding
    init = ScratchModernBert(kind="scratch", architecture="modernbert", **SIZES, **NARROW)
    fresh = build(init, tokenizer)[0].get_input_embeddings().weight.double()
    assert after["embedding_rms"] == pytest.approx(fresh.square().mean().sqrt().item(), rel=0.02)
    # one factor for all: directions stay
    one, other = as_it_is.get_input_embeddings().weight, rescaled.get_input_embeddings().weight
    torch.testing.assert_close(other * (one[9, 0] / other[9, 0]), one, rtol=1e-4, atol=1e-6)


def test_a_student_of_its_teachers_own_size_is_tiled_into_its_teacher(teacher, tokenizer):
    network, report = build(tiled(teacher, **WIDE), tokenizer)
    given = load_file(teacher / "model.safetensors")
    pad = network.config.pad_token_id
    for name, value in network.named_parameters():
        expected = given[name].clone()
        if name == TABLE:
            expected[pad] = 0.0
        assert torch.equal(value, expected), name
    assert report.new == ()


def test_a_wider_and_deeper_student_repeats_the_teacher_from_its_middle(tokenizer, tmp_path):
    small = save_teacher(tokenizer, tmp_path, **NARROW)
    wide = {"hidden_size": 28, "num_attention_heads": 7, "intermediate_size": 20, "num_hidden_layers": 6}
    network, report = build(tiled(small, **wide), tokenizer)
    given, mine = of_teacher(small), weights(network)
    # 12 in the middle of 28: eight places before them, which are the last eight
    columns = [*range(4, 12), *range(12), *range(8)]
    heads = [1, 2, 0, 1, 2, 0, 1]
    rows = [4 * head + place for head in heads for place in range(4)]
    inner = [14, 15, *range(16), 0, 1]
    np.testing.assert_array_equal(mine[TABLE][5:], given[TABLE][5:][:, columns])
    for layer, origin in enumerate([0, 0, 1, 2, 2, 2]):
        here, there = f"model.layers.{layer}.", f"model.layers.{origin}."
        query = given[f"{there}attn.Wqkv.weight"][:12][rows][:, columns]
        np.testing.assert_array_equal(mine[f"{here}attn.Wqkv.weight"][:28], query)
        gate = given[f"{there}mlp.Wi.weight"][16:][inner][:, columns]
        np.testing.assert_array_equal(mine[f"{here}mlp.Wi.weight"][20:], gate)
        np.testing.assert_array_equal(mine[f"{here}attn.Wo.weight"], given[f"{there}attn.Wo.weight"][columns][:, rows])
        np.testing.assert_array_equal(
            mine[f"{here}mlp.norm.weight".replace("mlp.norm", "mlp_norm")], given[f"{there}mlp_norm.weight"][columns]
        )
    # the teacher has no norm before its first layer, and the student's second is made of that one
    assert [tensor.name for tensor in report.new] == ["model.layers.1.attn_norm.weight"]


def test_a_wider_teacher_gives_its_middle(teacher, tokenizer):
    network, _ = build(tiled(teacher), tokenizer)
    given, mine = of_teacher(teacher), weights(network)
    np.testing.assert_array_equal(mine[TABLE][5:], given[TABLE][5:, 6:18])
    # heads 2, 3 and 4 of 0 to 5
    value = given["model.layers.1.attn.Wqkv.weight"][48:][8:20][:, 6:18]
    np.testing.assert_array_equal(mine["model.layers.1.attn.Wqkv.weight"][24:], value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"hidden_size": 28, "num_attention_heads": 7},
            r"model\.init\.hidden_size: 28 is more than the 24 .*`kind: tile`",
        ),
        ({"intermediate_size": 41}, r"model\.init\.intermediate_size: 41 is more than the 40 of the teacher"),
        ({"layers": "uniform", "num_hidden_layers": 4}, r"num_hidden_layers: 4 is more than the 3 .*`layers: first`"),
        (
            {"num_attention_heads": 2},
            r"num_attention_heads: 2 heads of 6 in a width of 12, .* are of 4: .* write 3 heads",
        ),
        ({"hidden_size": 10, "num_attention_heads": 2}, r"write a hidden_size that is a multiple of 4"),
    ],
)
def test_a_student_that_this_teacher_cannot_have_is_refused_in_its_own_words(changes, said, teacher, tokenizer):
    with pytest.raises(JobError, match=said):
        build(guide(teacher, **changes), tokenizer)


def test_a_teacher_of_another_family_or_vocabulary_or_nowhere_is_refused(teacher, tokenizer, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(JobError, match=r"model\.init\.teacher: .*bert is of the family bert, and students are made of"):
        build(guide(tmp_path / "bert"), tokenizer)
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=50, lowercase=True, marks="bert", terms={}
    )
    tokenizers.save(tokenizers.train(lambda: iter(["quite other words than those"] * 9), settings), tmp_path / "other")
    with pytest.raises(
        JobError, match=r"data\.tokenizer: \d+ of its \d+ ids are other tokens than in model\.init\.teach"
    ):
        build(guide(teacher), tmp_path / "other")
    with pytest.raises(MissingError, match=r"model\.init\.teacher: .*nowhere: its config\.json can't be read"):
        build(guide(tmp_path / "nowhere"), tokenizer)


def test_a_run_that_goes_on_asks_for_no_teacher(teacher, tokenizer, tmp_path):
    network, _ = build(guide(tmp_path / "gone"), tokenizer, filled_later=True)
    whole, _ = build(guide(teacher), tokenizer)
    shapes = [(name, value.shape) for name, value in network.named_parameters()]
    assert shapes == [(name, value.shape) for name, value in whole.named_parameters()]
    assert network.config.to_dict() == whole.config.to_dict()
