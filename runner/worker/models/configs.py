"""Configurations of new networks: what a job says, in the words of transformers; all that a job does not say is the
family as it was released."""

from collections.abc import Sequence

from transformers import (
    BertConfig,
    CanineConfig,
    DebertaV2Config,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
)

from runjob.data.store import TokenizerSummary
from runjob.schemas.characters import CHUNK, RATE, longest_row, padded_length
from runjob.schemas.errors import JobError
from runjob.schemas.job_model import (
    GuideInit,
    ScratchBert,
    ScratchCanine,
    ScratchDebertaV2,
    ScratchGpt2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
    StudentInit,
    TileInit,
)
from runjob.schemas.teacher import gated_size
from runjob.schemas.tokenizer_files import MPNET_PADDING, padding_problem


def new_config(init: ScratchInit | StudentInit, tokenizer: TokenizerSummary) -> PreTrainedConfig:
    match init:
        case ScratchGpt2():
            return gpt2_config(init, vocab_size=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
        case ScratchBert():
            return bert_config(init, tokenizer)
        case ScratchModernBert() | GuideInit() | TileInit():
            return modernbert_config(init, tokenizer)
        case ScratchDebertaV2():
            return deberta_config(init, tokenizer)
        case ScratchMPNet():
            return mpnet_config(init, tokenizer)
        case ScratchCanine():
            return canine_config(init)


def gpt2_config(init: ScratchGpt2, *, vocab_size: int, eos_id: int) -> GPT2Config:
    """GPT-2 of the job's sizes. All that is not named here is GPT-2 as released: tied head, layer norm epsilon 1e-5,
    N(0, 0.02) with residual projections scaled by 1 / sqrt(2 layers)."""
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=init.max_position_embeddings,
        n_embd=init.hidden_size,
        n_layer=init.num_hidden_layers,
        n_head=init.num_attention_heads,
        n_inner=init.intermediate_size,
        # The same function as the released "gelu_new", as one kernel: a training step of the tiny job took 0.31 s
        # instead of 0.44 s (1 thread, 2026-11-21).
        activation_function="gelu_pytorch_tanh",
        embd_pdrop=init.dropout,
        attn_pdrop=init.dropout,
        resid_pdrop=init.dropout,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
    )


def bert_config(init: ScratchBert, tokenizer: TokenizerSummary) -> BertConfig:
    return BertConfig(
        vocab_size=tokenizer.vocab_size,
        pad_token_id=tokenizer.pad_id,
        hidden_size=init.hidden_size,
        num_hidden_layers=init.num_hidden_layers,
        num_attention_heads=init.num_attention_heads,
        intermediate_size=inner_size(init),
        max_position_embeddings=init.max_position_embeddings,
        hidden_dropout_prob=init.dropout,
        attention_probs_dropout_prob=init.dropout,
    )


def modernbert_config(init: ScratchModernBert | StudentInit, tokenizer: TokenizerSummary) -> ModernBertConfig:
    """`layer_types` is what the newest configurations say of global attention."""
    every = init.global_attn_every_n_layers
    return ModernBertConfig(
        vocab_size=tokenizer.vocab_size,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.cls_id,
        cls_token_id=tokenizer.cls_id,
        eos_token_id=tokenizer.sep_id,
        sep_token_id=tokenizer.sep_id,
        hidden_size=init.hidden_size,
        num_hidden_layers=init.num_hidden_layers,
        num_attention_heads=init.num_attention_heads,
        intermediate_size=gated_size(init),
        max_position_embeddings=init.max_position_embeddings,
        layer_types=[
            "sliding_attention" if layer % every else "full_attention" for layer in range(init.num_hidden_layers)
        ],
        local_attention=init.local_attention,
        embedding_dropout=init.dropout,
        attention_dropout=init.dropout,
        mlp_dropout=init.dropout,
    )


def deberta_config(init: ScratchDebertaV2, tokenizer: TokenizerSummary) -> DebertaV2Config:
    """As microsoft/deberta-v3-base is configured: no absolute positions, both kinds of relative attention, with keys
    that are shared with the content's."""
    return DebertaV2Config(
        vocab_size=tokenizer.vocab_size,
        pad_token_id=tokenizer.pad_id,
        hidden_size=init.hidden_size,
        num_hidden_layers=init.num_hidden_layers,
        num_attention_heads=init.num_attention_heads,
        intermediate_size=inner_size(init),
        max_position_embeddings=init.max_position_embeddings,
        hidden_dropout_prob=init.dropout,
        attention_probs_dropout_prob=init.dropout,
        relative_attention=True,
        position_buckets=init.position_buckets,
        max_relative_positions=-1,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        layer_norm_eps=1e-7,
    )


def mpnet_config(init: ScratchMPNet, tokenizer: TokenizerSummary) -> MPNetConfig:
    """Two rows of the position table stand before the first position, as in microsoft/mpnet-base (514 for 512)."""
    refuse_padding(tokenizer, "model.init.architecture")
    attention_dropout = init.dropout if init.attention_dropout is None else init.attention_dropout
    return MPNetConfig(
        vocab_size=filled_vocabulary(init, tokenizer.vocab_size),
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.cls_id,
        eos_token_id=tokenizer.sep_id,
        hidden_size=init.hidden_size,
        num_hidden_layers=init.num_hidden_layers,
        num_attention_heads=init.num_attention_heads,
        intermediate_size=inner_size(init),
        max_position_embeddings=init.max_position_embeddings + MPNET_PADDING + 1,
        hidden_dropout_prob=init.dropout,
        attention_probs_dropout_prob=attention_dropout,
        layer_norm_eps=1e-5,
    )


def refuse_padding(tokenizer: TokenizerSummary, where: str) -> None:
    """JobError for a tokenizer whose padding is not where transformers' MPNet has it, whatever a configuration says."""
    if (said := padding_problem(tokenizer.pad_id)) is not None:
        raise JobError(f"{where}: {said}")


def canine_config(init: ScratchCanine) -> CanineConfig:
    """As google/canine-c is configured where the job says nothing: every 4 characters are one in the deep encoder, the
    first layer sees chunks of 128, the way back is a convolution over 4. The table of positions holds the padding of
    the longest row as well."""
    return CanineConfig(
        character_table=init.character_table,
        hidden_size=init.hidden_size,
        num_hidden_layers=init.num_hidden_layers,
        num_attention_heads=init.num_attention_heads,
        intermediate_size=inner_size(init),
        num_hash_functions=init.num_hash_functions,
        num_hash_buckets=init.num_hash_buckets,
        hidden_dropout_prob=init.dropout,
        attention_probs_dropout_prob=init.dropout,
        max_position_embeddings=padded_length(init.max_position_embeddings),
        downsampling_rate=RATE,
        local_transformer_stride=CHUNK,
    )


def filled_vocabulary(init: ScratchMPNet, vocabulary: int) -> int:
    """Rows of the table of tokens while training."""
    return -(-vocabulary // init.vocabulary_multiple) * init.vocabulary_multiple


def inner_size(init: ScratchBert | ScratchCanine | ScratchDebertaV2 | ScratchMPNet) -> int:
    """Four times the width, as in all these families."""
    return init.intermediate_size if init.intermediate_size is not None else 4 * init.hidden_size


def ids_in(config: PreTrainedConfig) -> int:
    """How many ids a network of this configuration tells apart."""
    return int(config.character_table if config.model_type == "canine" else config.vocab_size)


def name_labels(config: PreTrainedConfig, labels: Sequence[str]) -> None:
    """Of a head of labels: what its outputs are called, which is how many there are."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}


def positions_of(config: PreTrainedConfig) -> int | None:
    """Longest row that a network of this configuration reads; None where it has no limit."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    # canine needs room for padding, and these two count from the row after the padding's
    match config.model_type:
        case "canine":
            return longest_row(positions, rate=config.downsampling_rate, chunk=config.local_transformer_stride)
        case "mpnet":
            return positions - MPNET_PADDING - 1
        case "roberta":
            return positions - int(config.pad_token_id) - 1
    return positions
