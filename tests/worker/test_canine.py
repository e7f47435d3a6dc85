"""CANINE with a head of characters: what padding may and may not change, where a character beyond the table goes, which
checkpoints it reads and who reads its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoTokenizer, CanineConfig, CanineModel

from runjob.data.characters import CLS, MASK, PAD, SEP, fingerprint, open_characters
from runjob.data.store import TokenizerSummary
from runjob.data.tokenizers import save, summarise
from runjob.runner.estimate import canine_parameters
from runjob.runner.worker.export import export_model
from runjob.runner.worker.models.canine import CanineForMaskedLM, classes_of
from runjob.runner.worker.models.init import build_network, check_positions, enable_gradient_checkpointing
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.schemas.characters import CODE_POINTS, padded_length
from runjob.schemas.errors import CheckpointError, JobError
from runjob.schemas.job import Generation
from runjob.schemas.job_model import Model, PretrainedInit, ScratchCanine

TABLE = 256
SMALL = ScratchCanine(
    kind="scratch",
    architecture="canine",
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=None,
    max_position_embeddings=40,
    dropout=0.0,
    num_hash_functions=4,
    num_hash_buckets=300,
    character_table=TABLE,
)
RELEASED = ScratchCanine(
    **{
        **vars(SMALL),
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
        "num_hash_functions": 8,
        "num_hash_buckets": 16384,
        "character_table": 16384,
    }
)
CHARACTERS = TokenizerSummary(
    fingerprint="", vocab_size=CODE_POINTS, eos_id=SEP, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK
)
PIECES = TokenizerSummary(fingerprint="", vocab_size=83, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=82)


def build(init: ScratchCanine = SMALL, *, seed: int = 5) -> CanineForMaskedLM:
    return build_network(Model(init=init, allow_new=()), "mlm", tokenizer=CHARACTERS, seed=seed)[0].eval()


def loaded(path: Path, *, allow_new=(), tokenizer: TokenizerSummary = CHARACTERS):
    init = PretrainedInit(kind="pretrained", path=str(path), revision=None, trust_remote_code=False)
    return build_network(Model(init=init, allow_new=allow_new), "mlm", tokenizer=tokenizer, seed=1)


def row(text: str) -> list[int]:
    return [CLS, *map(ord, text), SEP]


def larger(network: torch.nn.Module, times: float) -> None:
    """Fresh weights are so small that a network hardly looks at its input."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(times)


def plain_states(network: CanineForMaskedLM, ids: torch.Tensor, *, width: int) -> torch.Tensor:
    """Of transformers' own encoder, padded to `width`."""
    plain = CanineModel(network.config, add_pooling_layer=False).eval()
    plain.load_state_dict(network.canine.state_dict())
    filler = (0, width - ids.shape[1])
    with torch.no_grad():
        answer = plain(F.pad(ids, filler), attention_mask=F.pad(torch.ones_like(ids), filler))
    return answer.last_hidden_state[:, : ids.shape[1]]


def test_at_the_real_width_every_length_is_answered_as_if_padded_to_whole_chunks_of_128():
    torch.manual_seed(0)
    network = CanineForMaskedLM(
        CanineConfig(hidden_size=768, num_hidden_layers=1, num_hash_buckets=512, max_position_embeddings=512)
    ).eval()
    larger(network, 3)
    for length in (4, 17, 18, 19, 20, 90, 120, 126, 127, 128, 250):
        ids = torch.randint(32, 0x4000, (1, length))
        # 128 where its last group of four, which is dropped, holds nothing but padding out of reach
        width = 128 if length <= 120 else 256 if length <= 248 else 384
        with torch.no_grad():
            ours = network.canine(ids).last_hidden_state
        torch.testing.assert_close(ours, plain_states(network, ids, width=width), rtol=0, atol=1e-4, msg=str(length))


def test_without_the_padding_of_the_class_the_answer_would_be_another():
    network = build()
    larger(network, 5)
    ids = torch.tensor([row("example.com")])
    with torch.no_grad():
        ours = network.canine(ids).last_hidden_state
    assert (ours - plain_states(network, ids, width=ids.shape[1])).abs().max() > 0.1


def test_a_rows_answer_depends_neither_on_its_neighbours_nor_on_what_stands_in_its_padding():
    network = build()
    larger(network, 5)
    alone = torch.tensor([row("a.nl")])
    batch = torch.tensor([row("a.nl") + [ord("x")] * 10, row("b" * 14)])
    mask = torch.ones_like(batch)
    mask[0, 6:] = 0
    with torch.no_grad():
        torch.testing.assert_close(network(batch, mask).logits[0, :6], network(alone).logits[0], rtol=0, atol=1e-5)


def test_characters_beyond_the_table_are_learnt_as_class_0_and_never_crash():
    labels = torch.tensor([97, TABLE - 1, TABLE, 0x4E2D, 0x1F600, 0x10FFFF, -100])
    assert classes_of(labels, table=TABLE).tolist() == [97, TABLE - 1, 0, 0, 0, 0, -100]
    network = build()
    ids = torch.tensor([row("中文😀\U0010ffffa.com")])
    masked = ids.clone()
    masked[0, 1:6] = MASK
    labels = ids.where(masked == MASK, torch.tensor(-100))
    logits = network(masked).logits[0, 1:6]
    expected = F.cross_entropy(logits, torch.tensor([0, 0, 0, 0, 97]), reduction="sum")
    answer = MaskedLMObjective(network)(masked, labels)
    assert answer.predicted.item() == 5
    assert answer.loss_sum.item() == pytest.approx(expected.item(), rel=1e-6)
    assert network(masked, labels=labels).loss.item() == pytest.approx(expected.item() / 5, rel=1e-6)


def test_the_head_sees_the_predicted_places_alone():
    network, seen = build(), []
    network.head.dense.register_forward_hook(lambda _module, inputs, _answer: seen.append(inputs[0].shape))
    ids = torch.tensor([row("example.com")])
    MaskedLMObjective(network)(ids, ids.masked_fill(ids != ord("e"), -100))
    assert seen == [(2, 32)]


def test_the_plan_counts_canine_to_the_last_parameter():
    for init in (SMALL, RELEASED):
        with torch.device("meta"):
            network = build_meta(init)
        assert canine_parameters(init) == sum(parameter.numel() for parameter in network.parameters())
    # the canine-mlm scripts: 132,082,944 with the pooler (768 x 768 + 768), which no masked model trains, and the head
    assert canine_parameters(RELEASED) == 132_082_944 - 590_592 + 13_191_424


def build_meta(init: ScratchCanine) -> torch.nn.Module:
    from runjob.runner.worker.models.configs import new_config

    return AutoModelForMaskedLM.from_config(new_config(init, CHARACTERS))


def publish(directory: Path) -> CanineModel:
    """A small checkpoint as google/canine-c is one: encoder and pooler, no head, nothing said of one."""
    torch.manual_seed(3)
    config = CanineConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_hash_buckets=300)
    config.max_position_embeddings = 200
    network = CanineModel(config)
    network.save_pretrained(directory)
    return network


def test_a_public_checkpoint_has_an_encoder_and_its_head_must_be_admitted(tmp_path):
    original = publish(tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks head\..*model\.allow_new: \[head\]"):
        loaded(tmp_path)
    network, report = loaded(tmp_path, allow_new=("head",))
    assert {tensor.name.partition(".")[0] for tensor in report.new} == {"head"}
    assert {tensor.name.partition(".")[0] for tensor in report.loaded} == {"canine"}
    assert all("pooler" in name for name in report.unexpected) and len(report.unexpected) == 2
    assert network.config.character_table == network.head.decoder.out_features == 16384
    ids = torch.tensor([row("example.com")])
    with torch.no_grad():
        ours = network.eval().canine(ids).last_hidden_state
        filler = (0, 128 - ids.shape[1])
        theirs = original.eval()(F.pad(ids, filler), attention_mask=F.pad(torch.ones_like(ids), filler))
    torch.testing.assert_close(ours, theirs.last_hidden_state[:, : ids.shape[1]], rtol=0, atol=1e-5)


def test_characters_and_canine_go_with_each_other_alone(tmp_path):
    publish(tmp_path)
    with pytest.raises(JobError, match=r"data\.tokenizer: model\.init\.path .* reads characters; write {kind: char"):
        loaded(tmp_path, allow_new=("head",), tokenizer=PIECES)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    save(open_characters(), tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_the_exported_model_is_read_by_transformers_which_knows_our_class_once_it_is_imported(tokenizer, tmp_path):
    network = build()
    network.config.architectures = ["CanineForMaskedLM"]
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    generation = Generation(max_new_tokens=1, temperature=0, top_k=0, top_p=1.0)
    target = tmp_path / "model"
    export_model(weights, network.config, tokenizer=tokenizer, target=target, card="# card\n", generation=generation)
    again = AutoModelForMaskedLM.from_pretrained(target).eval()
    names = AutoTokenizer.from_pretrained(target)
    ids = torch.tensor([names("exa\ue003ple.com").input_ids])
    assert ids[0].tolist() == row("exa\ue003ple.com")
    with torch.no_grad():
        assert torch.equal(again(ids).logits, network(ids).logits)
    assert loaded(target)[1].new == ()
    assert json.loads((target / "config.json").read_text())["character_table"] == TABLE
    # the encoder alone needs no class of ours
    code = f"from transformers import CanineModel; m, i = CanineModel.from_pretrained({str(target)!r}, "
    code += "output_loading_info=True); print(sorted(i['missing_keys']))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "['pooler.dense.bias', 'pooler.dense.weight']"


def test_a_row_longer_than_the_positions_with_their_padding_is_refused():
    network = build()
    check_positions(network, sequence_length=40)
    with torch.no_grad():
        network(torch.full((1, 40), 97))
    with pytest.raises(JobError, match=r"41 tokens do not fit the network's 40 positions"):
        check_positions(network, sequence_length=41)
    assert network.config.max_position_embeddings == padded_length(40) == 48


def test_gradient_checkpointing_of_canine_gives_the_same_gradients():
    def gradients(*, checkpointing: bool) -> list[torch.Tensor]:
        network = build().train()
        if checkpointing:
            enable_gradient_checkpointing(network)
        ids = torch.tensor([row("example.com"), row("wikipedia.o")])
        MaskedLMObjective(network)(ids, ids.masked_fill(ids % 3 == 0, -100)).loss_sum.backward()
        return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]

    one, other = gradients(checkpointing=False), gradients(checkpointing=True)
    assert len(one) == len(other) > 20
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_the_tokenizer_of_characters_is_one_of_code_points():
    tokenizer = open_characters()
    found = summarise(tokenizer)
    assert vars(found) == {**vars(CHARACTERS), "fingerprint": fingerprint()}
    assert tokenizer("goo \ue003 é😀").input_ids == row("goo \ue003 é😀")
