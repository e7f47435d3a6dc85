"""Characters one after another: each knows those before it and no others, together they are a likelihood, and the order
is the row's own."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data.batches import make_idle_batch, make_micro_batch, sample_digest
from runjob.data.characters import CLS, MASK, PAD, SEP
from runjob.data.corruptions import IGNORED
from runjob.data.cut import Limit
from runjob.data.order import Order
from runjob.data.ordered_rows import OrderedRows
from runjob.data.rows import Row
from runjob.data.store import TokenizerSummary
from runjob.data.stream import TrainStream
from runjob.runner.estimate import order_parameters, scratch_parameters
from runjob.runner.worker.export import export_model, load_network
from runjob.runner.worker.models.canine_ordered import CanineForOrderedCharacters, ordered_places
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.ordered_characters import OrderedCharactersObjective
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.errors import CheckpointError
from runjob.schemas.job_model import Model, PretrainedInit, ScratchCanine

CHARACTERS = TokenizerSummary(
    fingerprint="", vocab_size=CODE_POINTS, eos_id=SEP, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK
)


def scratch(*, table: int) -> ScratchCanine:
    return ScratchCanine(
        kind="scratch",
        architecture="canine",
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        dropout=0.0,
        num_hash_functions=4,
        num_hash_buckets=300,
        character_table=table,
    )


def build(*, table: int = 256, seed: int = 5) -> CanineForOrderedCharacters:
    """A network with clear answers."""
    model = Model(init=scratch(table=table), allow_new=())
    network = build_network(model, "char_ar", tokenizer=CHARACTERS, seed=seed)[0].eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8) if parameter.dim() > 1 else None
    return network


NETWORK = build()


def hidden_row(text: str, order: list[int]) -> Row:
    """The row of a text whose characters at these places are hidden, to be predicted in this order."""
    ids = np.array([CLS, *map(ord, text), SEP])
    input_ids, labels, places = ids.copy(), np.full_like(ids, IGNORED), np.full_like(ids, -1)
    for turn, place in enumerate(order):
        input_ids[place + 1], labels[place + 1], places[place + 1] = MASK, ids[place + 1], turn
    return Row(input_ids=input_ids, labels=labels, position_ids=None, order=places)


def tensors(*rows: Row) -> dict[str, torch.Tensor]:
    width = max(len(row.input_ids) for row in rows)
    return make_micro_batch(rows, range(len(rows)), width=width, first_sample=0).tensors


@torch.no_grad()
def logits_of(network: CanineForOrderedCharacters, row: Row) -> torch.Tensor:
    """Of the hidden places, in the order of prediction."""
    batch = tensors(row)
    hidden = network.canine(batch["input_ids"]).last_hidden_state
    return network.ordered_logits(hidden, batch["labels"], ordered_places(batch["order"]))[0]


@settings(max_examples=20, deadline=None)
@given(st.permutations([1, 2, 4, 5, 7]), st.integers(0, 4))
def test_a_character_is_told_to_those_after_it_in_the_order_and_to_no_others(order, changed):
    text = list("google.com")
    before = logits_of(NETWORK, hidden_row("".join(text), order))
    text[order[changed]] = "x"
    after = logits_of(NETWORK, hidden_row("".join(text), order))
    assert torch.equal(before[: changed + 1], after[: changed + 1])
    differs = (before - after).abs().amax(1)[changed + 1 :]
    assert (differs > 1e-4).all()


@pytest.mark.parametrize("order", [[0, 1, 3], [3, 0, 1]])
def test_the_chances_of_all_fillings_of_a_text_add_up_to_one(order):
    module = OrderedCharactersObjective(build(table=5))
    total = 0.0
    for filling in itertools.product(range(5), repeat=3):
        text = list("\x01\x02\x03\x04")
        for place, point in zip(sorted(order), filling, strict=True):
            text[place] = chr(point)
        with torch.no_grad():
            answer = module(**tensors(hidden_row("".join(text), order)))
        assert int(answer.predicted) == 3
        total += float(torch.exp(-answer.loss_sum))
    assert total == pytest.approx(1, abs=1e-5)


def test_the_loss_of_a_batch_is_the_sum_of_its_rows_whatever_their_lengths():
    module = OrderedCharactersObjective(NETWORK)
    rows = [hidden_row("google.com", [3, 1]), hidden_row("nu.nl", [4, 0, 2]), hidden_row("example.org", [])]
    with torch.no_grad():
        alone = [module(**tensors(row)) for row in rows]
        together = module(**tensors(*rows))
    assert int(together.predicted) == sum(int(answer.predicted) for answer in alone) == 5
    assert float(together.loss_sum) == pytest.approx(sum(float(answer.loss_sum) for answer in alone), rel=1e-5)


def test_a_batch_that_hides_nothing_has_no_loss_and_a_gradient_of_nothing_for_every_tensor():
    module = OrderedCharactersObjective(build())
    micro = make_idle_batch(Constant(hidden_row("nu.nl", [1])), first_sample=0)
    answer = module(**micro.tensors)
    answer.loss_sum.backward()
    assert (float(answer.loss_sum.detach()), int(answer.predicted)) == (0.0, 0)
    assert all(not bool(parameter.grad.any()) for parameter in module.parameters() if parameter.grad is not None)
    assert {name for name, parameter in module.named_parameters() if parameter.grad is None} == set()


def test_characters_beyond_the_table_are_one_class_that_is_predicted_and_told():
    module = OrderedCharactersObjective(NETWORK)
    with torch.no_grad():
        found = [
            float(module(**tensors(hidden_row(text, [0, 1]))).loss_sum)
            for text in ("漢字.jp", "한국.jp", "\x00\x00.jp")
        ]
    assert found[0] == found[1] == found[2]


def test_asked_without_an_order_every_place_is_the_first():
    row = hidden_row("google.com", [4, 2])
    with torch.no_grad():
        parallel = NETWORK(torch.from_numpy(row.input_ids)[None]).logits[0]
    assert torch.allclose(parallel[5], logits_of(NETWORK, row)[0], atol=1e-5)
    assert torch.allclose(parallel[3], logits_of(NETWORK, hidden_row("google.com", [2, 4]))[0], atol=1e-5)


def test_what_is_exported_comes_back_as_the_same_class_with_all_its_tensors(tmp_path: Path, generation):
    network = build()
    network.config.architectures = [type(network).__name__]
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    (tmp_path / "tokenizer").mkdir()
    target = tmp_path / "model"
    export_model(
        weights, network.config, tokenizer=tmp_path / "tokenizer", target=target, card="", generation=generation
    )
    loaded = load_network(target)
    assert type(loaded) is CanineForOrderedCharacters
    row = hidden_row("google.com", [4, 2, 3])
    assert torch.equal(logits_of(loaded, row), logits_of(network, row))
    assert sum(value.numel() for value in weights.values()) == scratch_parameters(
        scratch(table=256), CODE_POINTS
    ) + order_parameters(scratch(table=256))


def test_a_checkpoint_without_the_layer_starts_only_where_a_new_head_is_admitted(tmp_path: Path):
    network = build()
    network.canine.save_pretrained(tmp_path)
    init = PretrainedInit(kind="pretrained", path=str(tmp_path), revision=None, trust_remote_code=False)
    with pytest.raises(CheckpointError, match=r"lacks .*allow_new: \[head\]"):
        build_network(Model(init=init, allow_new=()), "char_ar", tokenizer=CHARACTERS, seed=1)
    model = Model(init=init, allow_new=("head",))
    found, report = build_network(model, "char_ar", tokenizer=CHARACTERS, seed=1)
    assert {tensor.name.split(".")[0] for tensor in report.new} == {"head", "order"}
    assert torch.equal(found.canine.state_dict()["projection.conv.weight"], network.canine.projection.conv.weight)


class Constant:
    """Rows that are all the same."""

    sequence_length, sections, bucketed, bytes = 40, (100,), True, 0

    def __init__(self, row: Row) -> None:
        self._row = row

    def __len__(self) -> int:
        return 100

    def lengths(self, numbers):
        return np.full(len(numbers), len(self._row.input_ids))

    def row(self, number: int, *, position: int | None) -> Row:
        return self._row


def test_the_order_is_a_shuffle_of_the_hidden_places_that_the_seed_and_the_place_in_training_decide():
    text = hidden_row("abcdefghijkl", list(range(12)))
    rows = [OrderedRows(Constant(text), seed=seed) for seed in (1, 1, 2)]
    places = np.flatnonzero(text.labels != IGNORED)
    for position in (0, 1, 5000):
        order = rows[0].row(3, position=position).order
        assert sorted(order[places]) == list(range(12))
        assert (np.delete(order, places) == -1).all()
        assert (order == rows[1].row(3, position=position).order).all()  # another process, a resumed run
        assert (order == rows[0].row(4, position=position).order).all()  # the place decides, not the row
    orders = {tuple(one.row(3, position=position).order) for one in rows[1:] for position in range(20)}
    assert len(orders) == 40
    assert (rows[0].row(3, position=None).order == rows[1].row(3, position=None).order).all()
    assert (rows[0].row(3, position=None).order != rows[0].row(4, position=None).order).any()


def test_every_order_comes_about_equally_often():
    rows = OrderedRows(Constant(hidden_row("abc", [0, 1, 2])), seed=1)
    seen: dict[tuple[int, ...], int] = {}
    for position in range(6000):
        order = tuple(rows.row(0, position=position).order[1:4].tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6
    # 1,000 each; 5 standard deviations are 144
    assert all(abs(count - 1000) < 144 for count in seen.values())


def test_the_digest_of_a_sample_tells_its_order():
    one, other = hidden_row("google.com", [1, 2]), hidden_row("google.com", [2, 1])
    assert (one.input_ids == other.input_ids).all()
    assert sample_digest(1, one) != sample_digest(1, other)


def test_ranks_are_fed_the_same_orders_and_any_step_may_be_asked_for():
    rows = OrderedRows(Constant(hidden_row("abcdefghijkl", list(range(12)))), seed=1)

    def batch(step: int, *, ranks: int, then: int) -> list[bytes]:
        """The digests of a step, in sample order, of streams that were asked for `then` before."""
        shares = []
        for rank in range(ranks):
            limit = Limit(rows=2, tokens=None)
            stream = TrainStream(rows, Order(100, 1), global_batch=8, limit=limit, rank=rank, ranks=ranks)
            stream.step(then)
            shares.append(stream.step(step))
            stream.close()
        return list(shares[0].in_sample_order(digest for share in shares for digest in share.digests))

    straight = batch(5, ranks=1, then=4)
    assert len(set(straight)) == 8
    assert batch(5, ranks=2, then=1) == batch(5, ranks=4, then=9) == straight
