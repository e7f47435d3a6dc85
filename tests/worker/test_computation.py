"""What a plan says that a step computes is what torch counts when it computes one, of every family."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from runjob.data.store import TokenizerSummary
from runjob.runner.computation import OPERATIONS, products
from runjob.runner.model_shape import shape_of_scratch
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.models.masked_lm import MaskedLMObjective
from runjob.runner.worker.models.ordered_characters import OrderedCharactersObjective
from runjob.runner.worker.models.permuted_lm import PermutedLMObjective
from runjob.schemas.job_model import (
    CausalLM,
    CharAR,
    MaskedLM,
    Model,
    Objective,
    PermutedLM,
    Replace,
    ScratchBert,
    ScratchCanine,
    ScratchDebertaV2,
    ScratchGpt2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
)

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY, ROWS, LENGTH, HIDDEN = 512, 4, 120, 30
WORDS = TokenizerSummary(fingerprint="", vocab_size=VOCABULARY, eos_id=2, pad_id=1, cls_id=0, sep_id=2, mask_id=4)
SIZES = {
    "kind": "scratch",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 160,
    "dropout": 0.0,
}
ALL_MASKS = Replace(mask=1.0, random=0.0, keep=0.0)
SHARE = HIDDEN / LENGTH
MASKED = MaskedLM(kind="mlm", unit="token", probability=SHARE, replace=ALL_MASKS, span=None)
OBJECTIVES = {
    "clm": CausalLMObjective,
    "mlm": MaskedLMObjective,
    "char_ar": OrderedCharactersObjective,
    "plm": PermutedLMObjective,
}
GPT2 = ScratchGpt2(architecture="gpt2", **SIZES)
BERT = ScratchBert(architecture="bert", **SIZES)
MODERN = ScratchModernBert(architecture="modernbert", global_attn_every_n_layers=3, local_attention=32, **SIZES)
DEBERTA = ScratchDebertaV2(architecture="deberta_v2", position_buckets=16, **SIZES)
MPNET = ScratchMPNet(
    architecture="mpnet", attention_dropout=None, activation_dropout=0.0, vocabulary_multiple=8, **SIZES
)
CANINE = ScratchCanine(
    architecture="canine", num_hash_functions=4, num_hash_buckets=256, character_table=VOCABULARY, **SIZES
)


def counted(init: ScratchInit, objective: Objective) -> float:
    """By torch, with attention that is written out in products, which are counted on any machine."""
    network = build_network(Model(init=init, allow_new=()), objective.kind, tokenizer=WORDS, seed=1)[0]
    module = OBJECTIVES[objective.kind](network)
    inputs = torch.randint(5, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    labels, order = inputs.clone(), torch.full_like(inputs, -1)
    if objective.kind != "clm":
        labels[:, HIDDEN:] = -100
        order[:, :HIDDEN] = torch.arange(HIDDEN)
    more = {"order": order} if objective.kind in ("char_ar", "plm") else {}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(input_ids=inputs, labels=labels, **more).loss_sum.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("init", "objective"),
    [
        (GPT2, CausalLM(kind="clm")),
        (BERT, MASKED),
        (MODERN, MASKED),
        (DEBERTA, MASKED),
        (MPNET, MASKED),
        (MPNET, PermutedLM(kind="plm", unit="token", probability=SHARE, replace=ALL_MASKS)),
        (CANINE, MASKED),
        (CANINE, CharAR(kind="char_ar", probability=SHARE, span=None)),
    ],
    ids=lambda one: getattr(one, "architecture", one.kind),
)
def test_a_step_computes_what_torch_counts(init: ScratchInit, objective: Objective) -> None:
    length = LENGTH + 8 if isinstance(init, ScratchCanine) else LENGTH  # as PaddedCanine fills it up
    expected = OPERATIONS * ROWS * length * products(shape_of_scratch(init, VOCABULARY), objective, length)
    if isinstance(objective, CausalLM):
        # written out, what lies ahead is multiplied first and hidden then; fused, it is left out
        expected += OPERATIONS * ROWS * length * init.num_hidden_layers * init.hidden_size * length
    assert counted(init, objective) == pytest.approx(expected, rel=0.01)
