"""A checkpoint for a tokenizer that holds more tokens than the checkpoint's own: a new token's row is the mean of the
rows of the pieces that it was cut into before, in the embeddings, in an output layer of its own, and in the bias.

The mean in the bias too, and not 0: the output is linear, so a new token then begins with the mean of its pieces'
logits, never likelier than the likeliest of them, whatever the scale of the biases. Reserved rows that no token had
(DeBERTa-v3 has 99) are taken first and given the same values; the table never shrinks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from runjob.data import tokenizers
from runjob.data.extend import added_tokens, old_pieces
from runjob.data.terms import TABLE
from runjob.runner.worker.models.loading import Source
from runjob.schemas.errors import JobError
from runjob.schemas.tokenizer_files import TOKENIZER_FILES, vocabulary_problem


@dataclass(frozen=True, kw_only=True)
class Extended:
    """`rows` begin as the mean of their old pieces; `appended` of them were not in the checkpoint's table."""

    rows: int
    appended: int


def extend_network(network: PreTrainedModel, source: Source, tokenizer_at: Path) -> Extended | None:
    """Fit the network to the job's tokenizer; None where it fits. JobError where an old id means another token."""
    tokenizer = tokenizers.load_saved(tokenizer_at)
    rows = network.get_input_embeddings().weight.shape[0]
    before, why = _own_tokenizer(source)
    if before is None:
        if max(added_tokens(tokenizer), default=0) >= rows or (tokenizer_at / TABLE).exists():
            raise JobError(
                f"{source}: the job's tokenizer has added terms, and which of them this checkpoint "
                f"knows only its own tokenizer tells, which is not there ({why}); put its files beside the weights"
            )
        return None
    new = _new_tokens(tokenizer, before, source)
    if not new:
        return None
    appended = max(new) + 1 - rows
    if appended > 0:
        network.resize_token_embeddings(max(new) + 1, mean_resizing=False)
    _set_to_means(network, old_pieces(tokenizer, new))
    return Extended(rows=len(new), appended=max(appended, 0))


def _own_tokenizer(source: Source) -> tuple[Any, str]:
    """The checkpoint's, or None and why not."""
    folder = Path(source.path)
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None, f"none of {', '.join(TOKENIZER_FILES)}"
    try:
        return AutoTokenizer.from_pretrained(
            source.path, revision=source.revision or "main", use_fast=True, trust_remote_code=False
        ), ""
    except (OSError, ValueError, ImportError) as error:
        return None, str(error).splitlines()[0]


def _new_tokens(tokenizer: Any, before: Any, source: Source) -> list[int]:  # noqa: ANN401 - transformers has no types
    """Ids of tokens that the checkpoint has none for."""
    mine = {id_: token for token, id_ in tokenizer.get_vocab().items()}
    theirs = {id_: token for token, id_ in before.get_vocab().items()}
    added = tokenizer.added_tokens_decoder.keys()
    if said := vocabulary_problem(mine, theirs, added=added, where=source.field, path=source.path):
        raise JobError(f"data.tokenizer: {said}")
    return sorted(mine.keys() - theirs.keys())


@torch.no_grad()
def _set_to_means(network: PreTrainedModel, pieces: Mapping[int, list[int]]) -> None:
    output = network.get_output_embeddings()
    tables = [network.get_input_embeddings().weight, getattr(output, "weight", None), getattr(output, "bias", None)]
    for table in {id(one): one for one in tables if one is not None}.values():
        for token, old in pieces.items():
            table[token] = table[old].mean(dim=0)
