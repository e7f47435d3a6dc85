"""Objective plm: one pass over transformers' MPNet equals the paper's two streams, and masked language modelling where
the two are the same; what fills a row or a table changes nothing."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import MPNetForMaskedLM

from runjob.data.store import TokenizerSummary
from runjob.runner.worker.models.filling import without_filling
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.runner.worker.models.permuted_lm import PermutedLMObjective, check_streams
from runjob.schemas.errors import JobError
from runjob.schemas.job_model import Model, PretrainedInit, ScratchMPNet
from tests.worker.two_streams import Item, run_two_streams, what_is_seen

VOCABULARY, MASK, LENGTH = 61, 4, 200
WORDS = TokenizerSummary(fingerprint="", vocab_size=VOCABULARY, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=MASK)
SMALL = ScratchMPNet(
    kind="scratch",
    architecture="mpnet",
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=None,
    max_position_embeddings=LENGTH,
    dropout=0.0,
    attention_dropout=None,
    activation_dropout=0.0,
    vocabulary_multiple=1,
)


def build(init: ScratchMPNet = SMALL, *, seed: int = 5) -> MPNetForMaskedLM:
    """In double, with weights so large that each thing a place sees matters."""
    network = build_network(Model(init=init, allow_new=()), "plm", tokenizer=WORDS, seed=seed)[0].double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    assert isinstance(network, MPNetForMaskedLM)
    return network


def sentence(length: int, *, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [0, *torch.randint(5, VOCABULARY, (length - 2,), generator=generator).tolist(), 2]


def row(tokens: list[int], stand_ins: dict[int, int]) -> dict[str, torch.Tensor]:
    """A row whose places are predicted in the order of `stand_ins`."""
    inputs, labels = torch.tensor([tokens]), torch.full((1, len(tokens)), -100)
    order = torch.full((1, len(tokens)), -1)
    for number, (place, token) in enumerate(stand_ins.items()):
        inputs[0, place], labels[0, place], order[0, place] = token, tokens[place], number
    return {"input_ids": inputs, "labels": labels, "order": order}


def joined(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One micro batch, filled up on the right."""
    width = max(one["input_ids"].shape[1] for one in rows)
    filling = {"input_ids": 0, "labels": -100, "order": -1}
    batch = {
        name: torch.cat([F.pad(one[name], (0, width - one[name].shape[1]), value=value) for one in rows])
        for name, value in filling.items()
    }
    lengths = torch.tensor([one["input_ids"].shape[1] for one in rows])
    return {**batch, "attention_mask": (torch.arange(width) < lengths[:, None]).long()}


def test_what_is_seen_is_what_figure_2_of_the_paper_draws():
    content, queries = what_is_seen([1, 5, 3, 4, 6, 2], 3)

    def tokens(*places: int) -> list[Item]:
        return [Item("token", place) for place in places]

    def masks(*places: int) -> list[Item]:
        return [Item("mask", place) for place in places]

    for item in [*tokens(1, 5, 3), *masks(4, 6, 2)]:
        assert content[item] == [*tokens(1, 5, 3), *masks(4, 6, 2)]
    assert content[Item("token", 4)] == [*tokens(1, 5, 3, 4), *masks(6, 2)]
    assert content[Item("token", 6)] == [*tokens(1, 5, 3, 4, 6), *masks(2)]
    assert content[Item("token", 2)] == [*tokens(1, 5, 3, 4, 6, 2)]
    assert queries[4] == [*tokens(1, 5, 3), *masks(4, 6, 2)]
    assert queries[6] == [*tokens(1, 5, 3, 4), *masks(6, 2)]
    assert queries[2] == [*tokens(1, 5, 3, 4, 6), *masks(2)]


@pytest.mark.parametrize(
    ("length", "hidden"),
    [
        # a mask, another token, the token itself
        (7, {4: MASK, 1: 33, 5: None}),
        (6, {3: MASK}),
        (9, {2: MASK, 7: MASK, 3: 12, 1: MASK, 6: MASK}),
        # places that share a bucket of distances
        (40, {30: MASK, 2: MASK, 38: MASK}),
    ],
)
def test_one_pass_equals_the_two_streams_of_the_paper_in_loss_and_gradients(length, hidden):
    tokens = sentence(length)
    stand_ins = {place: tokens[place] if token is None else token for place, token in hidden.items()}
    ours, theirs = build(), build()
    answer = PermutedLMObjective(ours)(**row(tokens, stand_ins))
    answer.loss_sum.backward()
    # any order of what is not predicted
    visible = [place for place in range(length) if place not in stand_ins][::-1]
    weights = dict(theirs.named_parameters())
    found = run_two_streams(weights, tokens, stand_ins, [*visible, *stand_ins], heads=2)
    found.loss.backward()
    assert answer.predicted.item() == len(stand_ins)
    assert answer.loss_sum.item() == pytest.approx(found.loss.item(), rel=1e-6)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-5, atol=1e-6, msg=name)


def masked(tokens: list[int], places: list[int]) -> torch.Tensor:
    return torch.tensor([[MASK if place in places else token for place, token in enumerate(tokens)]])


def test_with_one_hidden_token_the_query_is_plain_masked_language_modelling():
    network, tokens = build().eval(), sentence(11)
    answer = PermutedLMObjective(network)(**row(tokens, {6: MASK}))
    logits = network(masked(tokens, [6])).logits[0, 6]
    assert answer.loss_sum.item() == pytest.approx(F.cross_entropy(logits, torch.tensor(tokens[6])).item(), rel=1e-6)


def test_the_content_at_masks_and_visible_tokens_is_plain_masked_language_modelling_of_the_sentence_as_it_stands():
    network, tokens, places = build().eval(), sentence(14), [9, 2, 11, 5]
    given = row(tokens, dict.fromkeys(places, MASK))
    hidden = PermutedLMObjective(network).hidden(given["input_ids"], given["labels"], given["order"])[0]
    plain = network.mpnet(masked(tokens, places)).last_hidden_state[0]
    assert hidden.shape[0] == 14 + 2 * 4
    torch.testing.assert_close(hidden[14:18], plain[places], rtol=1e-10, atol=1e-10)
    visible = [place for place in range(14) if place not in places]
    torch.testing.assert_close(hidden[visible], plain[visible], rtol=1e-10, atol=1e-10)


def test_a_context_above_512_has_the_buckets_that_the_exported_model_computes_with():
    network = build(dataclasses.replace(SMALL, max_position_embeddings=1024)).eval()
    tokens = sentence(900)
    answer = PermutedLMObjective(network)(**row(tokens, {870: MASK}))
    assert network.mpnet.encoder.relative_attention_bias.weight.shape[0] == 32
    logits = network(masked(tokens, [870])).logits[0, 870]
    assert answer.loss_sum.item() == pytest.approx(F.cross_entropy(logits, torch.tensor(tokens[870])).item(), rel=1e-6)


def test_each_row_has_its_own_number_of_predictions_and_none_sees_the_filling():
    network = build()
    rows = [
        row(sentence(12, seed=1), {3: MASK, 8: MASK, 1: 9, 10: MASK}),
        row(sentence(7, seed=2), {4: MASK}),
        row(sentence(5, seed=3), {}),
    ]
    alone = [PermutedLMObjective(network)(**one) for one in rows]
    together = PermutedLMObjective(network)(**joined(rows))
    assert [answer.predicted.item() for answer in alone] == [4, 1, 0]
    assert together.predicted.item() == 5
    assert together.loss_sum.item() == pytest.approx(sum(one.loss_sum.item() for one in alone), rel=1e-6)
    alone[2].loss_sum.backward()  # a row that predicts nothing adds nothing
    assert all(parameter.grad is None or bool((parameter.grad == 0).all()) for parameter in network.parameters())


def test_documents_apart_are_computed_as_if_each_stood_by_itself():
    network = build()
    first, second = row(sentence(9, seed=1), {6: MASK, 2: MASK}), row(sentence(8, seed=2), {1: MASK, 5: MASK})
    apart = sum(PermutedLMObjective(network)(**one).loss_sum.item() for one in (first, second))
    packed = {name: torch.cat([first[name], second[name]], dim=1) for name in ("input_ids", "labels")}
    # one order for the whole row, the documents' predictions among one another
    order = torch.full((1, 17), -1)
    for number, place in enumerate((9 + 1, 6, 2, 9 + 5)):
        order[0, place] = number
    places = torch.tensor([[*range(9), *range(8)]])
    filled = {
        "input_ids": F.pad(packed["input_ids"], (0, 3)),
        "labels": F.pad(packed["labels"], (0, 3), value=-100),
        "order": F.pad(order, (0, 3), value=-1),
        "position_ids": F.pad(places, (0, 3)),
    }
    answer = PermutedLMObjective(network)(**filled)
    assert answer.loss_sum.item() == pytest.approx(apart, rel=1e-6)
    row_wide = PermutedLMObjective(network)(**packed, order=order)
    assert row_wide.loss_sum.item() != pytest.approx(apart, rel=1e-3)


def test_watched_labels_are_summed_by_themselves():
    network, tokens = build(), sentence(10)
    given = row(tokens, {7: MASK, 3: MASK})
    whole = PermutedLMObjective(network)(**given, watched=given["labels"] != -100)
    one = PermutedLMObjective(network)(**given, watched=given["labels"] == tokens[7])
    assert whole.watched_sum.item() == pytest.approx(whole.loss_sum.item(), rel=1e-6)
    # 7 comes first, so it is predicted as if 3 were predicted by nobody
    alone = F.cross_entropy(network(masked(tokens, [7, 3])).logits[0, 7], torch.tensor(tokens[7]))
    assert one.watched_sum.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["plm", "mlm"])
def test_rows_that_fill_the_table_are_never_predicted_and_stay_at_home(kind):
    init = dataclasses.replace(SMALL, vocabulary_multiple=128)
    network = build(init)
    assert network.get_input_embeddings().weight.shape[0] == 128
    given = row(sentence(10), {7: MASK, 3: MASK})
    if kind == "plm":
        objective: nn.Module = PermutedLMObjective(network, vocabulary=VOCABULARY)
    else:
        objective = MaskedLMObjective(network, vocabulary=VOCABULARY)
        given.pop("order")
    answer = objective(**given)
    answer.loss_sum.backward()
    assert bool((network.get_input_embeddings().weight.grad[VOCABULARY:] == 0).all())
    assert bool((network.lm_head.bias.grad[VOCABULARY:] == 0).all())
    weights = {name: value.detach() for name, value in network.named_parameters()}
    model = Model(init=init, allow_new=())
    cut, config = without_filling(weights, network.config, model, vocabulary=VOCABULARY)
    exported = MPNetForMaskedLM(config).double()
    exported.load_state_dict(cut, strict=False)
    exported.tie_weights()
    unfilled = type(objective)(exported)(**given)
    assert unfilled.loss_sum.item() == pytest.approx(answer.loss_sum.item(), rel=1e-6)
    assert (config.vocab_size, network.config.vocab_size) == (VOCABULARY, 128)


def test_recomputing_layers_changes_nothing_dropout_included():
    init = dataclasses.replace(SMALL, dropout=0.1, attention_dropout=0.2, activation_dropout=0.3)
    losses, gradients = [], []
    for recompute in (False, True):
        network = build(init).train()
        torch.manual_seed(8)
        answer = PermutedLMObjective(network, recompute=recompute)(**row(sentence(10), {7: MASK, 3: MASK}))
        answer.loss_sum.backward()
        losses.append(answer.loss_sum.item())
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert losses[0] == losses[1]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_three_dropouts_each_by_its_own_probability_and_none_when_finished():
    init = dataclasses.replace(SMALL, dropout=0.1, attention_dropout=0.2, activation_dropout=0.3)
    network = build(init)
    found = sorted(module.p for module in network.modules() if isinstance(module, nn.Dropout))
    # embeddings, and in each of two layers behind attention and feed-forward; attention; activation
    assert found == [0.1] * 5 + [0.2] * 2 + [0.3] * 2
    assert network.state_dict().keys() == build().state_dict().keys()
    assert "activation_dropout" not in network.config.to_dict()
    shared = build(dataclasses.replace(SMALL, dropout=0.25))
    assert shared.config.attention_probs_dropout_prob == 0.25
    given = row(sentence(10), {7: MASK})
    only = PermutedLMObjective(build(dataclasses.replace(SMALL, activation_dropout=0.5)))
    losses = {only.train()(**given).loss_sum.item() for _ in range(3)}
    assert len(losses) == 3
    assert len({only.eval()(**given).loss_sum.item() for _ in range(3)}) == 1


def test_new_weights_are_those_of_the_paper():
    """N(0, 0.02) in every matrix and table, biases 0, norms 1, rows of padding 0."""
    init = dataclasses.replace(SMALL, hidden_size=64, intermediate_size=256)
    network = build_network(Model(init=init, allow_new=()), "plm", tokenizer=WORDS, seed=3)[0]
    tables = network.mpnet.embeddings
    for table in (tables.word_embeddings.weight, tables.position_embeddings.weight):
        assert bool((table[1] == 0).all())
        assert table[2:].std().item() == pytest.approx(0.02, rel=0.05)
    for name, parameter in network.named_parameters():
        if name.endswith("bias") and parameter.dim() == 1:
            assert bool((parameter == 0).all()), name
        elif parameter.dim() == 1:
            assert bool((parameter == 1).all()), name
        else:
            assert parameter.mean().abs().item() < 0.006, name
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15 if parameter.numel() > 1000 else 0.4), name


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_in_half_precision_what_is_not_seen_stays_unseen_and_nothing_overflows(kind):
    """Scores are added to a mask of the precision's least number, by autocast in the other precision."""
    rows = [row(sentence(12, seed=1), {3: MASK, 8: MASK, 1: 9}), row(sentence(7, seed=2), {4: MASK})]
    network = build_network(Model(init=SMALL, allow_new=()), "plm", tokenizer=WORDS, seed=5)[0]
    exact = PermutedLMObjective(network)(**joined(rows)).loss_sum.item()
    with torch.autocast("cpu", dtype=kind):
        answer = PermutedLMObjective(network)(**joined(rows))
    answer.loss_sum.backward()
    assert answer.loss_sum.item() == pytest.approx(exact, rel=1e-2)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())
    whole = PermutedLMObjective(network.to(kind))(**joined(rows))
    assert whole.loss_sum.item() == pytest.approx(exact, rel=2e-2)


def test_a_checkpoint_of_mpnet_refuses_a_tokenizer_with_padding_elsewhere(tmp_path):
    build_network(Model(init=SMALL, allow_new=()), "plm", tokenizer=WORDS, seed=5)[0].save_pretrained(tmp_path)
    init = PretrainedInit(kind="pretrained", path=str(tmp_path), revision=None, trust_remote_code=False)
    with pytest.raises(JobError, match=r"data\.tokenizer: mpnet takes id 1 for padding, and the tokenizer has id 0"):
        words = dataclasses.replace(WORDS, pad_id=0)
        build_network(Model(init=init, allow_new=()), "plm", tokenizer=words, seed=5)


def test_only_mpnet_has_two_streams():
    class Other:
        class config:
            model_type = "bert"

    with pytest.raises(JobError, match="two streams, not by bert"):
        check_streams(Other)  # type: ignore[arg-type]
