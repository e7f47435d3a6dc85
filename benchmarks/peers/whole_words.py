"""Whole words for tokenizers whose words begin with a blank (▁, as DeBERTa-v3's do): the library's own collator finds
words by gaps between offsets, which such tokenizers leave none of, and would hide all or nothing."""

from typing import Any

import torch
from transformers import DataCollatorForLanguageModeling

BLANK = "▁"


class WholeWordCollator(DataCollatorForLanguageModeling):
    """A word is chosen with `mlm_probability`, all of its pieces with it; 80 % masked, 10 % other, 10 % kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        size = len(self.tokenizer)
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(size)))
        self.begins = torch.tensor([piece.startswith(BLANK) for piece in pieces])
        self.special = torch.tensor(self.tokenizer.all_special_ids)

    def torch_mask_tokens(
        self, inputs: Any, special_tokens_mask: Any | None = None, offset_mapping: Any | None = None
    ) -> tuple[Any, Any]:
        # (Trainer has dropped the column with their mask, since the network takes none)
        special = torch.isin(inputs, self.special)
        words = self.begins[inputs].cumsum(1)
        chosen = torch.rand(inputs.shape[0], int(words.max()) + 1) < self.mlm_probability
        hidden = chosen.gather(1, words) & ~special
        labels = inputs.masked_fill(~hidden, -100)
        fate = torch.rand(inputs.shape)
        inputs = inputs.masked_fill(hidden & (fate < 0.8), self.tokenizer.mask_token_id)
        other = torch.randint(len(self.tokenizer), inputs.shape)
        return torch.where(hidden & (fate >= 0.8) & (fate < 0.9), other, inputs), labels
