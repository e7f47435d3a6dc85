"""The DeepSpeed engine behind the few verbs that the loop needs. The only room that drives `deepspeed`; what it works
around was measured on 0.19.8 (docs/decisions/0006-deepspeed.md)."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from torch import nn

from runjob.data.batches import MicroBatch
from runjob.runner.worker.gradients import (
    clip,
    drop,
    fill_missing,
    is_plain,
    name_of_non_finite,
    sharded_norm,
    whole_norm,
)
from runjob.runner.worker.models.causal_lm import Answer, Nats

# DeepSpeed's DynamicLossScaler: all that changes from step to step
SCALER_MEMORY = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def start_process_group() -> None:
    """gloo on CPU, NCCL on CUDA, as torchrun's environment says.

    Without DeepSpeed's communication extension: training never calls it (only its inference does), and loading it takes
    torch's build lock in every rank, which a rank that is killed there leaves behind for all later jobs to wait on.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(verbose=False)


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Two parameter groups: matrices decay, every tensor of one dimension (biases, norms) does not."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.dim() >= 2]},
        {"params": [parameter for parameter in parameters if parameter.dim() < 2], "weight_decay": 0.0},
    ]


class Engine:
    """One rank's engine. `config` is the run's own deepspeed.json: what stands there is what happens."""

    def __init__(self, module: nn.Module, config: Path, *, ranks: int, compiled: bool) -> None:
        self.ranks = ranks
        self.deepspeed, _, _, _ = deepspeed.initialize(
            model=module, model_parameters=decay_groups(module), config=str(config)
        )
        # from_pretrained gives networks in evaluation mode, and before a resume's first step no evaluation ends it
        self.deepspeed.train()
        if compiled:
            self.deepspeed.compile()
        self.device = torch.device(get_accelerator().current_device_name())
        self.stage = int(self.deepspeed.zero_optimization_stage())
        # The peak of the schedule, as the configuration file says it
        self.peak_learning_rate = float(self.deepspeed.optimizer.param_groups[0]["lr"])
        self._forward_s = 0.0
        self._forward_events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self.plain = is_plain(self.deepspeed, self.stage)
        if self.plain:
            # Its own computes the norm a second time, and multiplies every gradient by 1 where nothing is clipped
            self.deepspeed.clip_fp32_gradients = self._clip
            # One rank has nobody to add its gradients up with, which costs a copy of all of them and back
            self.deepspeed.enable_backward_allreduce = ranks > 1

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self.deepspeed.module
        return module

    @contextmanager
    def casts_kept(self) -> Iterator[None]:
        """Around the micro batches of one step: autocast drops its bf16 copies of the weights where its outermost
        context ends, which otherwise is the end of each forward pass. Not where ZeRO 3 takes the weights apart."""
        if not self.deepspeed.torch_autocast_enabled() or self.stage == 3:
            yield
            return
        with torch.autocast(self.device.type, dtype=self.deepspeed.torch_autocast_dtype()):
            yield

    def train_micro_batch(self, micro: MicroBatch, *, predicted_in_step: int, last: bool, seed: int) -> torch.Tensor:
        """Forward and backward of one micro batch; the summed loss (nats, fp32, detached).

        The engine averages gradients over ranks, so the sum is scaled by ranks / true count beforehand: what reaches
        clipping is the gradient of the mean over all predicted tokens of the step, whoever computed them.
        """
        torch.manual_seed(seed)
        self.deepspeed.set_gradient_accumulation_boundary(last)
        with self._timed():
            answer: Answer = self.deepspeed(**self.on_device(micro))
        with torch.autocast(self.device.type, enabled=False):  # as behind any forward pass
            self.deepspeed.backward(answer.loss_sum * (self.ranks / predicted_in_step), scale_wrt_gas=False)
        return answer.loss_sum.detach()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """A forward pass: below ZeRO 3 the part of a step in which no rank waits for another. A GPU is not waited for
        either: it notes the time itself."""
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._forward_events.append((begin, end))
            return
        began = time.perf_counter()
        yield
        self._forward_s += time.perf_counter() - began

    def forward_seconds(self) -> float:
        """Of this rank's forward passes since this was asked last; to be asked when the losses have been read."""
        seconds = self._forward_s + sum(float(begin.elapsed_time(end)) for begin, end in self._forward_events) / 1000
        self._forward_s, self._forward_events = 0.0, []
        return seconds

    def gradient_norm(self) -> float:
        """L2 norm over all parameters before clipping; NaN or Inf if any gradient is. Collective above ZeRO 0. Once a
        step, before it."""
        if not self.plain:
            return sharded_norm(self.deepspeed, self.stage)
        fill_missing(self.module)
        self._norm = whole_norm(self.module)
        return float(self._norm)

    def _clip(self) -> None:
        clip(self.module, self._norm, limit=float(self.deepspeed.gradient_clipping()))

    def first_non_finite_gradient(self) -> str:
        """Name of the first parameter whose gradient holds NaN or Inf, for the error message. Collective."""
        return name_of_non_finite(self.deepspeed, self.stage)

    def drop_gradients(self) -> None:
        """Instead of the optimiser step: weights, moments and the engine's counters stay as they are."""
        drop(self.deepspeed, self.stage)

    def step(self, learning_rate: float) -> bool:
        """One optimiser step; False where fp16's loss scaler skipped it."""
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
        self.deepspeed.step()
        return bool(self.deepspeed.was_step_applied())

    def loss_scale(self) -> float | None:
        """fp16's loss scale, None in other precisions."""
        if not self.deepspeed.fp16_enabled():
            return None
        return float(self.deepspeed.optimizer.loss_scale)

    def scale_is_least(self) -> bool:
        """Would DeepSpeed end the run, rather than halve fp16's loss scale once more?"""
        scaler = self.deepspeed.optimizer.loss_scaler
        return bool(scaler.cur_scale == scaler.min_scale and 1 in (scaler.delayed_shift, scaler.cur_hysteresis))

    def loss_scaler(self) -> dict[str, float] | None:
        """What fp16's dynamic loss scaler remembers, for a checkpoint; None in other precisions."""
        if not self.deepspeed.fp16_enabled():
            return None
        scaler = self.deepspeed.optimizer.loss_scaler
        return {name: getattr(scaler, name) for name in SCALER_MEMORY}

    def restore_loss_scaler(self, memory: dict[str, float] | None) -> None:
        if memory is not None and self.deepspeed.fp16_enabled():
            for name, value in memory.items():
                setattr(self.deepspeed.optimizer.loss_scaler, name, value)

    @torch.no_grad()
    def evaluate(self, micro_batches: Iterable[MicroBatch]) -> Nats:
        """Summed losses of this rank's evaluation rows, dropout off."""
        self.deepspeed.eval()
        total = Nats()
        for micro in micro_batches:
            answer: Answer = self.deepspeed(**self.on_device(micro))
            total.add(answer)
        self.deepspeed.train()
        return total

    def on_device(self, micro: MicroBatch) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in micro.tensors.items()}
