"""Weights and Adam moments by parameter name, free of ranks and ZeRO stage: gathered from the engine tensor by tensor,
and scattered back into an engine of any stage and any number of ranks. The snags that this room steps around stand in
docs/decisions/0006-deepspeed.md; all of it is DeepSpeed 0.19.8.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import distributed

from runjob.runner.worker.copies import Copies

MOMENTS = ("exp_avg", "exp_avg_sq")


class NamedState(NamedTuple):
    """One parameter's fp32 tensors on the CPU of rank 0; None on the other ranks. Training does not touch them."""

    name: str
    weight: torch.Tensor | None
    exp_avg: torch.Tensor | None
    exp_avg_sq: torch.Tensor | None


def trainable(engine: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:  # noqa: ANN401 - deepspeed is untyped
    """Parameters under their Hugging Face names, in the module's order (the same on every rank)."""
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            yield name.removeprefix("network."), parameter


def put_back(
    engine: Any,  # noqa: ANN401
    stage: int,
    read: Callable[[str, str], torch.Tensor],
    *,
    step: int,
) -> None:
    """`scatter` into an engine that has trained on: its weights go back too. Collective."""
    if stage == 3:
        engine.optimizer._partition_all_parameters()
    scatter(engine, stage, read, step=step)
    if stage == 0:
        for name, parameter in trainable(engine):
            parameter.data.copy_(read("weight", name))
    elif stage == 3:
        for group in range(len(engine.optimizer.fp16_groups)):
            engine.optimizer._reassign_or_swap_out_partitioned_parameters(group)
    else:
        engine.optimizer.update_lp_params()


def gather(engine: Any, stage: int, copies: Copies) -> Iterator[NamedState]:  # noqa: ANN401
    """Every trainable parameter in turn. Collective: all ranks must run it to its end."""
    begin_moments(engine, stage)
    if stage in (1, 2):
        relink(engine.optimizer)
    writes = distributed.get_rank() == 0
    whole = stage == 0 and not _wrapped(engine)
    for name, parameter in trainable(engine):
        tensors = _own(engine, parameter) if whole else _assembled(parameter)
        # what was assembled is a tensor of nobody else's already
        take = copies.copy if whole else copies.adopt
        yield NamedState(
            name, *(take(f"{kind} {name}", tensors[kind]) if writes else None for kind in ("weight", *MOMENTS))
        )


def _own(engine: Any, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """The very tensors that the next step changes."""
    state = engine.optimizer.state[parameter]
    return {"weight": parameter.detach(), **{key: state[key] for key in MOMENTS}}


def _assembled(parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    """New tensors, put together of what the ranks hold. Collective."""
    moments = {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
    return {"weight": safe_get_full_fp32_param(parameter).detach(), **moments}


def adam_step(engine: Any, stage: int) -> int:  # noqa: ANN401
    """Updates that the optimiser has made: the exponent of Adam's bias correction, the same for every tensor."""
    steps = {int(state["step"]) for state in base_optimizer(engine, stage).state.values() if "step" in state}
    return max(steps, default=0)


def scatter(
    engine: Any,  # noqa: ANN401
    stage: int,
    read: Callable[[str, str], torch.Tensor],
    *,
    step: int,
) -> None:
    """Put `read(kind, name)` (kind: weight, exp_avg or exp_avg_sq; fp32 on CPU) into a fresh engine whose module
    already holds the weights. Collective."""
    base = base_optimizer(engine, stage)
    for flat in flat_partitions(engine, stage):
        base.state[flat] = _empty_state(flat, step)
    if stage in (1, 2):
        relink(engine.optimizer)
    for name, parameter in trainable(engine):
        if stage == 0:
            base.state[parameter] = _empty_state(parameter, step)
            for key in MOMENTS:
                base.state[parameter][key].copy_(read(key, name))
        elif stage == 3:
            _set_local(parameter, read, name)
        else:
            safe_set_full_fp32_param(parameter, read("weight", name))
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, read(key, name), key)


def begin_moments(engine: Any, stage: int) -> None:  # noqa: ANN401
    """Zeros, as the first update would make them, where every step so far was left out."""
    base = base_optimizer(engine, stage)
    for tensor in flat_partitions(engine, stage) or [parameter for _, parameter in trainable(engine)]:
        if not base.state.get(tensor):
            base.state[tensor] = _empty_state(tensor, 0)


def base_optimizer(engine: Any, stage: int) -> torch.optim.Optimizer:  # noqa: ANN401
    optimizer: torch.optim.Optimizer = engine.optimizer if stage == 0 else engine.optimizer.optimizer
    return optimizer


def flat_partitions(engine: Any, stage: int) -> list[torch.Tensor]:  # noqa: ANN401
    """The flat fp32 tensors that the base optimiser of ZeRO 1 to 3 really updates."""
    if stage == 0:
        return []
    flats: list[torch.Tensor] = (
        engine.optimizer.fp32_partitioned_groups_flat
        if stage == 3
        else engine.optimizer.single_partition_of_fp32_groups
    )
    return flats


def relink(optimizer: Any) -> None:  # noqa: ANN401
    """ZeRO 1 and 2 link parameters to their moments after the first group's very first step, when the other groups'
    are still empty, and never again: link once more, now that all exist."""
    optimizer._hp_optimizer_states_linked = False
    optimizer._lazy_init_hp_params_optimizer_state()


def _wrapped(engine: Any) -> bool:  # noqa: ANN401
    return hasattr(engine.optimizer, "optimizer")


def _empty_state(like: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
    moments = {key: torch.zeros_like(like, dtype=torch.float32) for key in MOMENTS}
    # fused AdamW wants its counter as fp32 beside the parameter
    return {"step": torch.tensor(float(step), dtype=torch.float32, device=like.device), **moments}


def _set_local(parameter: torch.nn.Parameter, read: Callable[[str, str], torch.Tensor], name: str) -> None:
    """ZeRO 3: this rank's slice, zero-padded (safe_set_full_* fails when a size is no multiple of the ranks)."""
    length, rank = parameter.ds_tensor.ds_numel, distributed.get_rank()  # type: ignore[attr-defined]
    for kind in ("weight", *MOMENTS):
        piece = read(kind, name).reshape(-1)[length * rank : length * (rank + 1)]
        padded = torch.zeros(length)
        padded[: piece.numel()] = piece
        if kind == "weight":
            safe_set_local_fp32_param(parameter, padded)
        else:
            safe_set_local_optimizer_state(parameter, padded, kind)
