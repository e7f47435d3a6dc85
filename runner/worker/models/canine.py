"""CANINE (Clark et al. 2022) with a head that predicts characters, in the form of transformers, which has the encoder
and no such model of its own.

    characters -> hashed embeddings -> 1 local layer -> every 4 become 1 -> deep encoder -> 4 again -> 1 layer -> head

The encoder is theirs under their names (`canine.*`), so google/canine-c and -s load and what is saved loads as a plain
CanineModel. The configuration is theirs too, with one attribute more: `character_table`, the classes of the head. (A
configuration of our own would need a model type of its own, and no public checkpoint would be read by it. It is not
called `vocab_size`, since transformers takes that for all ids that a model reads, and these are all of Unicode.)

Two things about the encoder decide whether its answers can be trusted, and the class sees to both:

- It drops its last group of four, so a row without padding lacks what stood there: hidden states are off by as much as
  they are large. Here rows are padded to 4 * ceil(n / 4) + 8 (n: of the longest), which answers as padding to whole
  chunks of 128 does, and the answer is cut back to n. Training, evaluation, export and anyone's own use do the same.
- A character beyond the head's table has no class. It is predicted as class 0: U+0000 is padding and never text.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, CanineConfig, CanineModel, CaninePreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.canine.modeling_canine import CanineModelOutputWithPooling

from runjob.schemas.characters import padded_length

# The released table: what the encoder's configuration says of positions; the canine-mlm scripts took it for the head.
RELEASED_TABLE = 16_384
BEYOND = 0
IGNORED = -100


def classes_of(characters: torch.Tensor, *, table: int) -> torch.Tensor:
    """What the head predicts for these code points; what is ignored stays so."""
    return characters.where(characters < table, BEYOND)


class PaddedCanine(CanineModel):  # type: ignore[misc]  # transformers has no types
    """The encoder, for rows of any length; only `last_hidden_state` is cut back to it."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **more: Any,  # noqa: ANN401 - what CanineModel takes besides
    ) -> CanineModelOutputWithPooling:
        length = input_ids.shape[1]
        config = self.config
        padded = padded_length(length, rate=config.downsampling_rate, chunk=config.local_transformer_stride)
        filler = (0, padded - length)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        kinds = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        answer = super().forward(
            # padding is hidden from attention, yet the convolutions see it: whatever stands there counts as none
            F.pad(input_ids.masked_fill(mask == 0, config.pad_token_id), filler, value=config.pad_token_id),
            attention_mask=F.pad(mask, filler),
            token_type_ids=F.pad(kinds, filler),
            return_dict=True,
            **more,
        )
        answer.last_hidden_state = answer.last_hidden_state[:, :length]
        return answer


class CharacterHead(nn.Module):
    """Dense, gelu, norm, and a row for each class: the head of the canine-mlm scripts, not tied to anything, since
    embeddings are hashed and no character has a row of its own there."""

    def __init__(self, config: CanineConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=1e-5)
        self.decoder = nn.Linear(config.hidden_size, config.character_table)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.decoder(self.before_matrix(hidden))
        return logits

    def before_matrix(self, hidden: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.norm(F.gelu(self.dense(hidden)))
        return answer


class CanineForMaskedLM(CaninePreTrainedModel):  # type: ignore[misc]
    """`canine`, without the pooler, which nothing here would train, and `head`."""

    def __init__(self, config: CanineConfig) -> None:
        super().__init__(config)
        # the released configurations know of no head
        config.character_table = getattr(config, "character_table", RELEASED_TABLE)
        self.canine = PaddedCanine(config, add_pooling_layer=False)
        self.head = CharacterHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.head.decoder

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **more: Any,  # noqa: ANN401
    ) -> MaskedLMOutput:
        """`labels` are code points, -100 where nothing is asked."""
        hidden = self.canine(input_ids, attention_mask, token_type_ids, **more).last_hidden_state
        logits = self.head(hidden)
        loss = None
        if labels is not None:
            targets = classes_of(labels, table=self.config.character_table)
            loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        return MaskedLMOutput(loss=loss, logits=logits)


# exist_ok: without it transformers passes over models of others for configurations of its own
AutoModelForMaskedLM.register(CanineConfig, CanineForMaskedLM, exist_ok=True)
