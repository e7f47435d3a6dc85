"""CANINE that predicts its hidden characters one after another, in any order, each from the masked text and from the
characters predicted before it: the autoregressive character loss of CANINE-C (Clark et al. 2022, section 3.2.1).

    masked text -> encoder -> hidden states of the hidden places, in their order o_1 .. o_m
      blank_i     what is known of place o_i before its character is: its hidden state, and a learnt blank
      filled_i    what is known after: its hidden state, and the embedding of its character
    one transformer layer: blank_i looks at itself and at filled_1 .. filled_(i-1) -> character head -> o_i's character

As in the paper, state and embedding are concatenated and projected back to the width, and one layer with a
left-to-right mask over the shuffled places reads them. The paper leaves open how a place is kept from reading its own
character; the blank is our answer. The encoder runs once for a row, however many characters it hides, and since each
character is predicted from those before it alone, the sum of their losses is minus the log-likelihood of the whole
filling, whatever the order.

Legend: B rows of L characters, M hidden places in the row that has most, N in all rows; H width, V classes.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CanineConfig
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from runjob.runner.worker.models.canine import CanineForMaskedLM, classes_of


class Places(NamedTuple):
    """Where rows hide characters: `columns` (B, M) in the order of prediction; `present` (B, M) tells places from the
    filling-up of rows that hide fewer."""

    columns: torch.Tensor
    present: torch.Tensor


def ordered_places(order_BL: torch.Tensor) -> Places:
    """`order_BL` counts the hidden places of each row from 0; -1 where nothing is hidden."""
    hidden_BL = order_BL >= 0
    counts_B = hidden_BL.sum(1)
    most = max(int(counts_B.max()), 1)
    last = order_BL.shape[1]
    columns_BM = order_BL.masked_fill(~hidden_BL, last).argsort(dim=1, stable=True)[:, :most]
    present_BM = torch.arange(most, device=order_BL.device) < counts_B[:, None]
    return Places(columns_BM, present_BM)


class OrderedLayer(nn.Module):
    """Blanks in, what the head reads out."""

    def __init__(self, config: CanineConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.blank = nn.Embedding(1, width)
        self.join = nn.Linear(2 * width, width)
        self.join_norm = nn.LayerNorm(width, eps=1e-5)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-5)
        self.inner = nn.Linear(width, config.intermediate_size)
        self.outer = nn.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_BMH: torch.Tensor, characters_BMH: torch.Tensor) -> torch.Tensor:
        """`characters_BMH`: the embeddings of the characters, of which place i gets those of places before it."""
        nothing_BM = torch.zeros(hidden_BMH.shape[:2], dtype=torch.int64, device=hidden_BMH.device)
        blank_BMH = self._join(hidden_BMH, self.blank(nothing_BM))
        filled_BMH = self._join(hidden_BMH, characters_BMH)
        seen_B2MH = torch.cat([filled_BMH, blank_BMH], dim=1)
        attended_BMH = F.scaled_dot_product_attention(
            self._split(self.query(blank_BMH)),
            self._split(self.key(seen_B2MH)),
            self._split(self.value(seen_B2MH)),
            attn_mask=earlier_and_self(hidden_BMH.shape[1], hidden_BMH.device),
        ).transpose(1, 2)
        middle_BMH = self.attention_norm(blank_BMH + self.dropout(self.output(attended_BMH.flatten(2))))
        fed_BMH = self.outer(F.gelu(self.inner(middle_BMH)))
        answer: torch.Tensor = self.norm(middle_BMH + self.dropout(fed_BMH))
        return answer

    def _join(self, hidden: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.join_norm(F.gelu(self.join(torch.cat([hidden, beside], dim=-1))))
        return joined

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], self.heads, -1).transpose(1, 2)


def earlier_and_self(places: int, device: torch.device) -> torch.Tensor:
    """(M, 2 M): which of filled_1 .. filled_M and blank_1 .. blank_M each blank looks at."""
    itself = torch.eye(places, dtype=torch.bool, device=device)
    earlier = torch.ones_like(itself).tril(-1)
    return torch.cat([earlier, itself], dim=1)


class CanineForOrderedCharacters(CanineForMaskedLM):
    """`canine` and `head` as in CanineForMaskedLM, and `order` between them."""

    def __init__(self, config: CanineConfig) -> None:
        super().__init__(config)
        self.order = OrderedLayer(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **more: Any,  # noqa: ANN401 - what CanineModel takes besides
    ) -> MaskedLMOutput:
        """Logits of every place as if it were the first that is predicted: what `fill-mask` asks."""
        if labels is not None:
            raise ValueError("a loss needs an order, and there is none here: call ordered_logits")
        hidden_BLH = self.canine(input_ids, attention_mask, token_type_ids, **more).last_hidden_state
        logits_NV = self.first_logits(hidden_BLH.flatten(0, 1))
        return MaskedLMOutput(logits=logits_NV.view(*hidden_BLH.shape[:2], -1))

    def first_logits(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """Each of N places, none of which knows of another."""
        alone_N1H = hidden_NH[:, None]
        logits_NV: torch.Tensor = self.head(self.order(alone_N1H, torch.zeros_like(alone_N1H))[:, 0])
        return logits_NV

    def ordered_logits(
        self, hidden_BLH: torch.Tensor, characters_BL: torch.Tensor, places: Places
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, V) logits and (N) true classes of the hidden places, row by row in the order of prediction.
        `characters_BL` holds the hidden characters at their places; elsewhere it is not read."""
        hidden_BMH = hidden_BLH.gather(1, places.columns[..., None].expand(-1, -1, hidden_BLH.shape[2]))
        characters_BM = characters_BL.gather(1, places.columns).masked_fill(~places.present, 0)
        # The class and not the character: what is predicted is then what the next one is told, and the chance of a
        # filling is a chance of classes
        classes_BM = classes_of(characters_BM, table=self.config.character_table)
        answer_BMH = self.order(hidden_BMH, self.embed(classes_BM))
        return self.head(answer_BMH[places.present]), classes_BM[places.present]

    def embed(self, characters: torch.Tensor) -> torch.Tensor:
        """CANINE's own hashed embeddings of characters, without position."""
        config = self.config
        embedded: torch.Tensor = self.canine.char_embeddings._embed_hash_buckets(
            characters, config.hidden_size, config.num_hash_functions, config.num_hash_buckets
        )
        return embedded


class AutoModelForOrderedCharacters(_BaseAutoModelClass):  # type: ignore[misc]  # transformers has no types
    """transformers' way from a configuration to a class; it has none for this kind of model."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


AutoModelForOrderedCharacters.register(CanineConfig, CanineForOrderedCharacters, exist_ok=True)
