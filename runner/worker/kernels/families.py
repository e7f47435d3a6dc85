"""Where the kernels go in a network of transformers. A module that is served takes another class, whose forward calls a
kernel: its parameters, their names and what is saved of the network's configuration stay as they are, and so do the
hooks by which the engine gathers parameters."""

from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.masking_utils import sdpa_mask
from transformers.models.bert.modeling_bert import BertOutput, BertSelfOutput
from transformers.models.canine.modeling_canine import CanineOutput, CanineSelfAttention, CanineSelfOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    DebertaV2Output,
    DebertaV2SelfOutput,
    DisentangledSelfAttention,
)
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.modernbert.modeling_modernbert import ModernBertEncoderLayer
from transformers.models.mpnet.modeling_mpnet import MPNetOutput, MPNetSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaOutput, RobertaSelfOutput

from runjob.runner.worker.kernels import attention
from runjob.runner.worker.kernels.cross_entropy import FusedHead
from runjob.runner.worker.kernels.elementwise import FusedDropout, FusedGelu
from runjob.runner.worker.kernels.norm import NarrowNorm, ResidualNorm, ResidualOutput
from runjob.runner.worker.kernels.written_out import (
    FusedCanineAttention,
    FusedDisentangledAttention,
    FusedMPNetAttention,
)

# dense, dropout, norm of the sum: the same lines in all of them
RESIDUAL_OUTPUTS = frozenset(
    [
        BertSelfOutput,
        BertOutput,
        RobertaSelfOutput,
        RobertaOutput,
        MPNetOutput,
        DebertaV2SelfOutput,
        DebertaV2Output,
        CanineSelfOutput,
        CanineOutput,
    ]
)
WRITTEN_OUT = {
    MPNetSelfAttention: FusedMPNetAttention,
    CanineSelfAttention: FusedCanineAttention,
    DisentangledSelfAttention: FusedDisentangledAttention,
}
# Norms that only matrix products read
NORMS_BEFORE = {GPT2Block: ("ln_1", "ln_2"), ModernBertEncoderLayer: ("attn_norm", "mlp_norm")}


def install(network: PreTrainedModel) -> None:
    """Whatever of these a network has; in other families than ours the dropouts at least."""
    fuse_attention(network)
    fuse_dropouts(network)
    fuse_residuals(network)
    fuse_norms(network)
    fuse_gelu(network)
    fuse_loss(network)


def fuse_attention(network: PreTrainedModel) -> None:
    """By name where transformers has one choose, with masks in the form that torch's own fused attention gets; else by
    class."""
    AttentionInterface.register(attention.NAME, attention.fused_attention)
    AttentionMaskInterface.register(attention.NAME, sdpa_mask)
    if network.config._attn_implementation == "sdpa":
        network.set_attn_implementation(attention.NAME)
    for module in network.modules():
        if type(module) in WRITTEN_OUT:
            module.__class__ = WRITTEN_OUT[type(module)]


def fuse_dropouts(network: nn.Module) -> None:
    for module in network.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FusedDropout


def fuse_residuals(network: nn.Module) -> None:
    for module in network.modules():
        if type(module) in RESIDUAL_OUTPUTS:
            module.LayerNorm.__class__ = ResidualNorm
            module.__class__ = ResidualOutput


def fuse_norms(network: nn.Module) -> None:
    for module in network.modules():
        for name in NORMS_BEFORE.get(type(module), ()):
            norm = getattr(module, name)
            if type(norm) is nn.LayerNorm:  # ModernBERT's first layer has none
                norm.__class__ = NarrowNorm


def fuse_gelu(network: nn.Module) -> None:
    for module in network.modules():
        if type(module) in (GELUTanh, NewGELUActivation):
            module.__class__ = FusedGelu


def fuse_loss(network: PreTrainedModel) -> None:
    head = network.get_output_embeddings()
    if type(head) is nn.Linear:
        head.__class__ = FusedHead
