"""The gradient norm before clipping, at every ZeRO stage, before the optimiser step. DeepSpeed has none at ZeRO 0 in
fp32, and above it tells a NaN only after it has silently skipped the step. At ZeRO 0 clipping goes by the same norm,
which is then computed once."""

import math
from typing import Any

import torch
from torch import distributed, nn

# Before the first micro batch of a step, at ZeRO 1 and 2
NO_MICRO_STEP = -1


def is_plain(engine: Any, stage: int) -> bool:  # noqa: ANN401 - deepspeed is untyped
    """Are the gradients the parameters' own `.grad`, and is the optimiser torch's own?"""
    return stage == 0 and not hasattr(engine.optimizer, "loss_scale")


def whole_norm(module: nn.Module) -> torch.Tensor:
    """L2 norm of all gradients, summed up as DeepSpeed's clipping does, so that it clips by the same bits."""
    each = torch.stack([gradient.norm(2) for gradient in _gradients(module)])
    return each.pow(2).sum().pow(0.5)


def clip(module: nn.Module, norm: torch.Tensor, *, limit: float) -> None:
    """Scale all gradients down to the limit, where `norm` is above it."""
    if float(limit / (norm + 1e-6)) < 1:  # torch multiplies by 1 otherwise
        parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)


def fill_missing(module: nn.Module) -> None:
    """A gradient of zeros for each parameter that this step did not use: its weight decays like every other."""
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def drop(engine: Any, stage: int) -> None:  # noqa: ANN401
    """Forget what a step's backward passes left, so that the next ones begin as if it had never been: what DeepSpeed
    does itself where it leaves out a step of fp16, but for its counters and its loss scale."""
    optimizer = engine.optimizer
    if stage == 0:
        optimizer.zero_grad() if hasattr(optimizer, "loss_scale") else engine.zero_grad()
        return
    optimizer.zero_grad(set_to_none=True)
    if stage == 3:
        optimizer._pre_step()
        optimizer._partition_all_parameters()
        offloaded = optimizer.offload_optimizer
    else:
        optimizer.micro_step_id = NO_MICRO_STEP
        optimizer._release_preflattened_grad_buffers()
        optimizer.all_grad_tensors = dict.fromkeys(optimizer.all_grad_tensors)
        offloaded = optimizer.cpu_offload
    optimizer._offload_accumulated_param_ids = set()
    if offloaded:
        optimizer.reset_cpu_buffers()
    optimizer.averaged_gradients = dict.fromkeys(optimizer.averaged_gradients) if stage < 3 else {}


def _gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def sharded_norm(engine: Any, stage: int) -> float:  # noqa: ANN401
    """L2 norm over all parameters, unscaled (fp16), unclipped, where DeepSpeed's optimiser holds the gradients."""
    optimizer = engine.optimizer
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
