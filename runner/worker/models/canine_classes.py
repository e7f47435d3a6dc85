"""CANINE with a head that says of which kind a row is: transformers' class under its own names, which answers for a
row among longer ones as it would for that row alone.

    characters -> embeddings -> 1 local layer -> every 4 become 1 -> deep encoder -> first state -> pooler -> head

transformers' encoder drops its last whole group of four, whatever stands in it, so that the first state has room; in a
row without padding these are the last characters (the first layer alone sees them), in one with padding it is padding.
The same text would be answered otherwise beside a longer one. Whoever asks the finished model asks one text at a time,
as a pipeline does unless it is told otherwise, so that is what is trained and measured here: what a row alone would
drop is hidden from the deep encoder. What stands behind the pooler says nothing of a row and is not computed; it is in
the model since transformers expects it there.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, CanineConfig, CanineModel, CaninePreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledCanine(CanineModel):  # type: ignore[misc]  # transformers has no types
    """The encoder as far as its pooler, (B, H); every row as if it stood alone."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        rate, pad = self.config.downsampling_rate, self.config.pad_token_id
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        short = (0, max(rate - input_ids.shape[1], 0))  # of less than a group nothing could be made
        input_ids, mask = F.pad(input_ids, short, value=pad), F.pad(mask, short)
        embedded = self.char_embeddings(input_ids=input_ids, token_type_ids=torch.zeros_like(input_ids))
        local_mask = self._create_3d_attention_mask_from_input_mask(input_ids, mask)
        characters = self.initial_char_encoder(embedded, attention_mask=local_mask).last_hidden_state
        groups = self.chars_to_molecules(characters)
        # the first state and all whole groups but the last
        seen = torch.arange(groups.shape[1], device=groups.device) < (mask.sum(1, keepdim=True) // rate).clamp(min=1)
        deep_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=groups[:, :1], attention_mask=seen.to(groups.dtype)
        )
        pooled: torch.Tensor = self.pooler(self.encoder(groups, attention_mask=deep_mask).last_hidden_state)
        return pooled


class CanineForSequenceClassification(CaninePreTrainedModel):  # type: ignore[misc]
    """`canine` and `classifier`, as in transformers' class of this name."""

    def __init__(self, config: CanineConfig) -> None:
        super().__init__(config)
        self.canine = PooledCanine(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **more: Any,  # noqa: ANN401 - what transformers' class takes besides
    ) -> SequenceClassifierOutput:
        """`token_type_ids` are what a tokenizer gives, zeros."""
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(self.canine(input_ids, attention_mask))))


# exist_ok: in place of transformers' own, in processes of runjob
AutoModelForSequenceClassification.register(CanineConfig, CanineForSequenceClassification, exist_ok=True)
