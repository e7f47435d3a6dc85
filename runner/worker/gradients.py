"""The gradient norm before clipping, at every ZeRO stage, before the optimiser step. DeepSpeed has none at ZeRO 0 in
fp32, and above it tells a NaN only after it has silently skipped the step."""

import math
from typing import Any

import torch
from torch import distributed


def gradient_norm(engine: Any, stage: int) -> float:  # noqa: ANN401 - deepspeed is untyped
    """L2 norm over all parameters, unscaled (fp16), unclipped."""
    optimizer = engine.optimizer
    if stage == 0 and not hasattr(optimizer, "loss_scale"):
        gradients = [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))
    norm = _global_norm(optimizer, stage)
    # DeepSpeed's helpers answer -1 for a norm that is not finite
    return norm / float(optimizer.loss_scale) if norm >= 0 else math.nan


def _global_norm(optimizer: Any, stage: int) -> float:  # noqa: ANN401
    if stage == 3:
        groups = optimizer._get_norm_groups()
        if any(float(group) < 0 for group in groups):
            return -1.0
        return float(torch.linalg.vector_norm(torch.stack([torch.as_tensor(group).float() for group in groups])))
    return float(optimizer.scaled_global_norm())


def name_of_non_finite(engine: Any, stage: int) -> str:  # noqa: ANN401
    """The first parameter (in the module's order) with a NaN or Inf in its gradient, as any rank sees it."""
    names = [name for name, _ in engine.module.named_parameters()]
    bad = _local_non_finite(engine, stage)
    first = min((names.index(name) for name in bad), default=len(names))
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        found = torch.tensor(first, device=engine.device)
        distributed.all_reduce(found, op=distributed.ReduceOp.MIN)
        first = int(found)
    return names[first].removeprefix("network.") if first < len(names) else "no parameter alone (their sum)"


def _local_non_finite(engine: Any, stage: int) -> list[str]:  # noqa: ANN401
    """Names whose gradient piece on this rank is not finite."""
    if stage == 0:
        pairs = [(name, parameter.grad) for name, parameter in engine.module.named_parameters()]
    else:
        by_parameter = {id(parameter): name for name, parameter in engine.module.named_parameters()}
        groups = engine.optimizer.fp16_groups if stage == 3 else engine.optimizer.params_in_partition
        pairs = [
            (by_parameter[id(parameter)], gradient)
            for index, gradients in engine.optimizer.averaged_gradients.items()
            for parameter, gradient in zip(groups[index], gradients or (), strict=False)
        ]
    return [name for name, gradient in pairs if gradient is not None and not bool(gradient.isfinite().all())]
