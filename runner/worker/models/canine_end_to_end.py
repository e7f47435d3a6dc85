"""Rows of CANINE end to end: what models/end_to_end.py is for networks whose attention alone sees rows. Here two
convolutions read neighbours, and the padding behind a row is part of what they read.

    row of n characters      places        4 * ceil((n + 2) / 4), the last ones padding: the window of the last
                                           character reaches two places beyond it
    first layer              chunks        128 places of a row each, as the encoder's local attention has them
    every 4 become 1         P / 4 groups  no window reaches from one row into the next
    deep layers              molecules     of each row its first character (CLS) and then its groups
    4 again                  places        a window of 4 reaches one place to the left: zeros before a row's first

The answers are those of rows that are padded to whole chunks (PaddedCanine); a test compares loss and gradients. Both
convolutions become matrix products of windows, at the rate of matrix products.

Legend: R rows, T characters, P places of all rows, G = P / 4 groups, M molecules of all rows, H width.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.models.canine.modeling_canine import (
    CanineConfig,
    CanineLayer,
    CanineModel,
    CharactersToMolecules,
    ConvProjection,
)

from runjob.runner.worker.kernels.attention import fused_attention
from runjob.runner.worker.kernels.written_out import FusedCanineAttention
from runjob.runner.worker.models.end_to_end import Apart, Visible, attend_apart
from runjob.schemas.characters import BEHIND, padded_length

# Added to the scores of padding: where nothing else is seen all of it is seen alike, as the encoder does, and the
# convolutions read what comes of it. Beyond the row's own places nothing is seen at all.
HIDDEN = -1e30


class ConvOfWindows(nn.Conv1d):
    """Takes windows (N, kernel x channels) too, and is then one matrix product."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.ndim != 2:
            return super().forward(input)
        return F.linear(input, self.weight.transpose(1, 2).flatten(1), self.bias)


@dataclass(frozen=True, kw_only=True)
class CharacterPlaces:
    """`tokens_T`: the characters in the B x W places of the batch, `at_T` among the P places; `first_R`: of each row's
    first; `molecule_M` in the first characters (R) followed by the groups (G), `group_G` among the molecules."""

    tokens_T: torch.Tensor
    at_T: torch.Tensor
    positions_P: torch.Tensor
    first_R: torch.Tensor
    molecule_M: torch.Tensor
    group_G: torch.Tensor
    chunks: Apart
    characters: Apart
    molecules: Apart

    @classmethod
    def of(cls, attention_mask_BW: torch.Tensor, config: CanineConfig) -> "CharacterPlaces":
        """Rows are filled up on their right."""
        device, width = attention_mask_BW.device, attention_mask_BW.shape[1]
        rate, chunk = config.downsampling_rate, config.local_transformer_stride
        lengths = attention_mask_BW.sum(1).cpu()
        places = torch.tensor([places_of(length, rate=rate, chunk=chunk) for length in lengths.tolist()])
        starts = places.cumsum(0) - places
        positions_P = torch.cat([torch.arange(count) for count in places.tolist()])
        is_token = torch.arange(width)[None, :] < lengths[:, None]
        at_T = (starts[:, None] + torch.arange(width)[None, :])[is_token]
        groups = places // rate
        group_starts = groups.cumsum(0) - groups
        rows = range(len(lengths))
        molecule_M = torch.cat(
            [
                torch.cat([torch.tensor([row]), len(lengths) + group_starts[row] + torch.arange(int(groups[row]))])
                for row in rows
            ]
        )
        return cls(
            tokens_T=is_token.flatten().nonzero().squeeze(1).to(device),
            at_T=at_T.to(device),
            positions_P=positions_P.to(device),
            first_R=starts.to(device),
            molecule_M=molecule_M.to(device),
            group_G=(molecule_M >= len(lengths)).nonzero().squeeze(1).to(device),
            chunks=_apart(*_chunks_of(places, lengths, chunk), device=device),
            characters=_apart(places, lengths, device=device),
            molecules=_apart(groups + 1, (lengths + rate - 1) // rate, device=device),
        )


def places_of(length: int, *, rate: int, chunk: int) -> int:
    """Of a row: as few as answer like whole chunks; whole chunks where the last window reaches into another one.

    >>> [places_of(length, rate=4, chunk=128) for length in (18, 19, 126, 127)]
    [20, 24, 128, 256]
    """
    if length + BEHIND > chunk:
        return padded_length(length, rate=rate, chunk=chunk)
    return rate * -(-(length + BEHIND) // rate)


def prepare(network: PreTrainedModel) -> None:
    encoder = network.base_model
    encoder.chars_to_molecules.conv.__class__ = ConvOfWindows
    encoder.projection.conv.__class__ = ConvOfWindows


def encode(
    encoder: CanineModel, input_ids_BW: torch.Tensor, rows: CharacterPlaces, asked_BW: torch.Tensor
) -> torch.Tensor:
    """Hidden states (N, H) of the characters that are asked for: of the last layer nothing else is computed but what
    those see, as a note in transformers' ConvProjection says of pretraining."""
    config = encoder.config
    ids_P = rows.positions_P.new_full(rows.positions_P.shape, config.pad_token_id)
    ids_P[rows.at_T] = input_ids_BW.flatten()[rows.tokens_T]
    embedded = encoder.char_embeddings(input_ids=ids_P[None], position_ids=rows.positions_P[None])
    near_PH = run_layers(encoder.initial_char_encoder.layer, embedded, rows.chunks)[0]
    molecules = to_molecules(encoder.chars_to_molecules, near_PH, rows, rate=config.downsampling_rate)
    deep_MH = run_layers(encoder.encoder.layer, molecules[None], rows.molecules)[0]
    again_PH = to_characters(encoder.projection, near_PH, deep_MH, rows, config)
    asked_N = rows.at_T[asked_BW.flatten()[rows.tokens_T]]
    return run_layer(encoder.final_char_encoder.layer[0], again_PH[None], rows.characters, asked_N)[0]


def to_molecules(
    module: CharactersToMolecules, near_PH: torch.Tensor, rows: CharacterPlaces, *, rate: int
) -> torch.Tensor:
    groups_GH = module.activation(module.conv(near_PH.reshape(-1, rate * near_PH.shape[1])))
    first_RH = near_PH.index_select(0, rows.first_R).to(groups_GH.dtype)
    answer: torch.Tensor = module.LayerNorm(torch.cat([first_RH, groups_GH]).index_select(0, rows.molecule_M))
    return answer


def to_characters(
    module: ConvProjection, near_PH: torch.Tensor, deep_MH: torch.Tensor, rows: CharacterPlaces, config: CanineConfig
) -> torch.Tensor:
    """What each character and its molecule say, through a window over its neighbours."""
    rate, kernel = config.downsampling_rate, config.upsampling_kernel_size
    deep_PH = deep_MH.index_select(0, rows.group_G)[:, None].expand(-1, rate, -1).flatten(0, 1)
    both_P2H = torch.cat([near_PH, deep_PH.to(near_PH.dtype)], dim=-1)
    before = (kernel - 1) // 2
    reached = F.pad(both_P2H, (0, 0, before, kernel - 1 - before))
    windows = [reached[shift : shift + len(both_P2H)] for shift in range(kernel)]
    for shift in range(before):  # what stands before a row's first places belongs to another row
        reaches = (rows.positions_P >= before - shift)[:, None]
        windows[shift] = windows[shift] * reaches.to(windows[shift].dtype)
    answer = module.activation(module.conv(torch.cat(windows, dim=-1)))
    shown: torch.Tensor = module.dropout(module.LayerNorm(answer))
    return shown


def run_layers(layers: nn.ModuleList, hidden_1TH: torch.Tensor, rows: Apart) -> torch.Tensor:
    for layer in layers:
        hidden_1TH = run_layer(layer, hidden_1TH, rows)
    return hidden_1TH


def run_layer(
    layer: CanineLayer, hidden_1TH: torch.Tensor, rows: Apart, asked_N: torch.Tensor | None = None
) -> torch.Tensor:
    """The answers of all places, or of those that are asked for."""
    own = layer.attention.self
    heads = own.num_attention_heads
    asked = tuple(
        each(hidden_1TH).unflatten(-1, (heads, -1)).transpose(1, 2) for each in (own.query, own.key, own.value)
    )
    fused = isinstance(own, FusedCanineAttention) and asked[0].dtype is torch.bfloat16
    more = {"dropout": own.dropout.p if own.training else 0.0, "scaling": own.attention_head_size**-0.5}
    inner = partial(fused_attention, is_causal=False) if fused else written_out_attention
    seen = attend_apart(inner, own, asked, rows, None, more).flatten(2)
    if asked_N is not None:
        seen, hidden_1TH = (each.index_select(1, asked_N) for each in (seen, hidden_1TH))
    answer = layer.attention.output(seen, hidden_1TH)
    told: torch.Tensor = layer.output(layer.intermediate(answer), answer)
    return told


def written_out_attention(
    _: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    dropout: float,
    scaling: float,
) -> tuple[torch.Tensor, None]:
    """As the encoder has it. (The way back of torch's fused attention takes a row of padding for one that sees each of
    its places fully: it knows the scores' logarithm of a sum alone, and next to -1e30 no sum is different.)"""
    scores = query @ key.transpose(-1, -2) * scaling + mask
    return (F.dropout(scores.softmax(-1), dropout) @ value).transpose(1, 2), None


def _chunks_of(places: torch.Tensor, lengths: torch.Tensor, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places and characters of each chunk of each row."""
    counts, characters = [], []
    for count, length in zip(places.tolist(), lengths.tolist(), strict=True):
        for start in range(0, count, chunk):
            counts.append(min(chunk, count - start))
            characters.append(min(max(length - start, 0), chunk))
    return torch.tensor(counts), torch.tensor(characters)


def _apart(lengths: torch.Tensor, seen: torch.Tensor, *, device: torch.device) -> Apart:
    return Apart.of(
        lengths, at_once=max(int(lengths.sum()), int(lengths.max())), visible=_seen_first(seen), device=device
    )


def _seen_first(seen: torch.Tensor) -> Visible:
    """Of each row so many places, the others hidden."""

    def visible(rows: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        hidden = torch.arange(is_token.shape[1])[None, :] >= seen[rows, None]
        return torch.zeros(is_token.shape).masked_fill(hidden, HIDDEN).masked_fill(~is_token, -torch.inf)

    return visible
