"""Rows of many lengths end to end: the tokens of a micro batch go through the network as one row without padding, and
only attention, which sees rows, gets them apart again, in a few groups of similar length.

    rows       a a a a | b b b | c         padded: 3 x 4 places, of which 8 hold a token
    embeddings, linears, norms, head       1 x 8: a a a a b b b c
    attention                              groups of similar length, padded: 2 x 4 (a, b) and 1 x 1 (c)

A step has fewer micro batches this way (a budget of tokens holds tokens alone), each with larger products. The loss and
its gradients are those of padded rows; only dropout draws other numbers.

Legend: B rows, W their width, T tokens of all rows, P places of all groups, H heads, D width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from runjob.data.cut import cheapest_bounds
from runjob.runner.worker.models.last_layer import answer_what_is_asked

Attention = Callable[..., tuple[torch.Tensor, Any]]
# (rows of a group, which of their places hold a token) -> (rows, width): booleans, or numbers that are added to scores
Visible = Callable[[torch.Tensor, torch.Tensor], torch.Tensor | None]

# What transformers and the `start` event call an attention that is told where rows end
SUFFIX = " end to end"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that attention computes together. `visible` (rows, 1, 1, width) is None where none is shorter."""

    rows: int
    width: int
    visible: torch.Tensor | None

    def seen(self, window: int | None) -> torch.Tensor | None:
        """The mask of a layer whose tokens see others at a distance below `window` alone."""
        if window is None or self.width <= window:
            return self.visible
        places = torch.arange(self.width, device=None if self.visible is None else self.visible.device)
        near = ((places[:, None] - places[None, :]).abs() < window)[None, None]
        return near.expand(self.rows, 1, -1, -1) if self.visible is None else near & self.visible


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Where attention puts rows that stand end to end: `spread_P` (T where there is none) for each place of the groups,
    `gathered_T` among those places; `asked_N`: of the T those whose answers somebody reads (None: all)."""

    spread_P: torch.Tensor
    gathered_T: torch.Tensor
    groups: tuple[Group, ...]
    asked_N: torch.Tensor | None = None

    @classmethod
    def of(
        cls, lengths: torch.Tensor, *, at_once: int, visible: Visible, device: torch.device | None = None
    ) -> "Apart":
        """Rows of these lengths (on the processor); groups of up to `at_once` places; `visible` makes the mask of the
        rows it is given at a width."""
        by_length = torch.argsort(lengths, descending=True, stable=True)
        sorted_lengths = lengths[by_length]
        starts = lengths.cumsum(0) - lengths
        tokens = int(lengths.sum())
        groups, spread = [], []
        begin = 0
        # Short rows beside long ones cost the square of the long ones' length; every group costs its start.
        for end in cheapest_bounds(sorted_lengths.numpy(), at_once):
            rows = by_length[begin:end]
            places = torch.arange(int(sorted_lengths[begin]))[None, :].expand(len(rows), -1)
            is_token = places < lengths[rows, None]
            spread.append(torch.where(is_token, starts[rows, None] + places, tokens).flatten())
            seen = visible(rows, is_token)
            groups.append(
                Group(
                    rows=len(rows),
                    width=places.shape[1],
                    visible=None if seen is None else seen[:, None, None].to(device),
                )
            )
            begin = end
        spread_P = torch.cat(spread)
        where = (spread_P < tokens).nonzero().squeeze(1)
        gathered_T = torch.empty(tokens, dtype=torch.long)
        gathered_T[spread_P[where]] = where
        return cls(spread_P=spread_P.to(device), gathered_T=gathered_T.to(device), groups=tuple(groups))


@dataclass(frozen=True, kw_only=True)
class RowPlaces:
    """Where the tokens of a micro batch are: `tokens_T` in its B x W places, each at its position in its row."""

    tokens_T: torch.Tensor
    positions_T: torch.Tensor
    apart: Apart

    @classmethod
    def of(cls, attention_mask_BW: torch.Tensor, asked_BW: torch.Tensor | None = None) -> "RowPlaces":
        """Rows are filled up on their right. `asked_BW`: of which tokens the network's answers are read."""
        device = attention_mask_BW.device
        width = attention_mask_BW.shape[1]
        lengths = attention_mask_BW.sum(1).cpu()
        places_T = (torch.arange(width)[None, :] < lengths[:, None]).flatten().nonzero().squeeze(1).to(device)
        apart = Apart.of(lengths, at_once=max(int(lengths.sum()), width), visible=all_tokens, device=device)
        if asked_BW is not None:
            apart = replace(apart, asked_N=asked_BW.flatten()[places_T].nonzero().squeeze(1))
        return cls(tokens_T=places_T, positions_T=places_T % width, apart=apart)


def all_tokens(_: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor | None:
    """A mask where some row is shorter than its group."""
    return None if bool(is_token.all()) else is_token


class Spread(torch.autograd.Function):
    """(T, ...) to (P, ...), zeros where no token is; both ways are copies of whole rows."""

    @staticmethod
    def forward(ctx: Any, each_T: torch.Tensor, rows: Apart) -> torch.Tensor:  # noqa: ANN401
        ctx.rows = rows
        return _spread(each_T, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_P: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        return gradient_P.index_select(0, ctx.rows.gathered_T), None


class Gather(torch.autograd.Function):
    """(P, ...) to (T, ...)."""

    @staticmethod
    def forward(ctx: Any, each_P: torch.Tensor, rows: Apart) -> torch.Tensor:  # noqa: ANN401
        ctx.rows = rows
        return each_P.index_select(0, rows.gathered_T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_T: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        return _spread(gradient_T, ctx.rows), None


def _spread(each_T: torch.Tensor, rows: Apart) -> torch.Tensor:
    nothing = each_T.new_zeros(1, *each_T.shape[1:])
    return torch.cat([each_T, nothing]).index_select(0, rows.spread_P)


def tell_rows_apart(network: PreTrainedModel) -> None:
    """From here on the network takes `rows` (Apart) beside the tokens of one row; without it, it is as before. Where
    `rows` says what is asked for, it answers that alone: (1, N, H)."""
    answer_what_is_asked(network)
    inner_name = network.config._attn_implementation
    inner: Attention = ALL_ATTENTION_FUNCTIONS[inner_name]

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        rows: Apart | None = None,
        sliding_window: int | None = None,
        **more: Any,  # noqa: ANN401 - whatever transformers passes to an attention
    ) -> tuple[torch.Tensor, Any]:
        if rows is None:
            return inner(module, query, key, value, attention_mask, sliding_window=sliding_window, **more)
        return attend_apart(inner, module, (query, key, value), rows, sliding_window, more), None

    AttentionInterface.register(inner_name + SUFFIX, attend)
    AttentionMaskInterface.register(inner_name + SUFFIX, sdpa_mask)
    network.set_attn_implementation(inner_name + SUFFIX)


def attend_apart(
    inner: Attention,
    module: torch.nn.Module,
    asked_1HTD: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    rows: Apart,
    window: int | None,
    more: dict[str, Any],
) -> torch.Tensor:
    """(1, T, H, D), as every attention answers."""
    sizes = [group.rows * group.width for group in rows.groups]
    spread = [
        Spread.apply(each.transpose(1, 2)[0], rows).split(sizes)  # type: ignore[no-untyped-call]
        for each in asked_1HTD
    ]
    answers = []
    for index, group in enumerate(rows.groups):
        query, key, value = (each[index].unflatten(0, (group.rows, group.width)).transpose(1, 2) for each in spread)
        seen = group.seen(window)
        if seen is not None and seen.is_floating_point():
            seen = seen.to(query.dtype)
        answer, _ = inner(module, query, key, value, seen, **more)
        answers.append(answer.flatten(0, 1))
    answer_PHD = answers[0] if len(answers) == 1 else torch.cat(answers)
    answer_THD: torch.Tensor = Gather.apply(answer_PHD, rows)  # type: ignore[no-untyped-call]
    return answer_THD[None]


def rows_apart(network: PreTrainedModel, rows: RowPlaces) -> dict[str, Any]:
    """What a forward pass takes besides the tokens of `rows`."""
    masks: Any = None
    if network.config.model_type == "modernbert":  # which would make its own of both kinds
        masks = {"full_attention": None, "sliding_attention": None}
    first = network.config.pad_token_id + 1 if network.config.model_type == "roberta" else 0
    return {"attention_mask": masks, "position_ids": rows.positions_T[None] + first, "rows": rows.apart}
