"""Rows that fill a table of tokens up to a round number while a network trains (`model.init.vocabulary_multiple`). No
id reaches them and no softmax counts them (permuted_lm.py, masked_lm.py), so only weight decay ever moves them, and the
exported model answers the same without."""

import copy
from collections.abc import Mapping

import torch
from transformers import PreTrainedConfig

from runjob.schemas.job_model import Model, ScratchMPNet

# MPNet's tensors with a row, or a number, for each token; the decoder is tied to the first
TABLES = (
    *("mpnet.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
    *("lm_head.bias", "lm_head.decoder.bias"),
)


def has_filling(model: Model) -> bool:
    return isinstance(model.init, ScratchMPNet) and model.init.vocabulary_multiple > 1


def without_filling(
    weights: Mapping[str, torch.Tensor], config: PreTrainedConfig, model: Model, *, vocabulary: int
) -> tuple[dict[str, torch.Tensor], PreTrainedConfig]:
    """Weights and configuration for export, of `vocabulary` tokens; as they are where nothing was filled up."""
    config = copy.deepcopy(config)
    if not has_filling(model):
        return dict(weights), config
    config.vocab_size = vocabulary
    cut = {name: value[:vocabulary].clone() if name in TABLES else value for name, value in weights.items()}
    return cut, config
