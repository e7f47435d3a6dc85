"""A step of the engine of one rank: the bits of DeepSpeed's own step, of which it leaves out what changes nothing."""

import copy
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.utils import clip_grad_norm_
from torch import distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode

from runjob.data.batches import MicroBatch
from runjob.runner.worker.engine import Engine, decay_groups, start_process_group
from runjob.runner.worker.models.causal_lm import Answer

# DeepSpeed never closes the file of its configuration
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

ADAMW = {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}


class Small(nn.Module):
    """A regression, one of whose parameters no forward pass uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(7, 33), nn.Linear(33, 5)
        self.unused = nn.Parameter(torch.ones(3, 3))

    def forward(self, inputs: torch.Tensor) -> Answer:
        loss = self.second(self.first(inputs).tanh()).square().sum(dtype=torch.float64)
        return Answer(loss, torch.tensor(len(inputs)))


def micro(seed: int) -> MicroBatch:
    inputs = torch.randn(4, 7, generator=torch.Generator().manual_seed(seed))
    return MicroBatch(tensors={"inputs": inputs}, first_sample=0, predicted=4, tokens=4, digests=())


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    """A group of one rank for the whole file: DeepSpeed keeps the first that it meets in a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in alone.items():
            patch.setenv(name, value)
        start_process_group()
        yield
        distributed.destroy_process_group()


@pytest.fixture
def build(tmp_path: Path, group: None):
    """An engine of one rank around a copy of the module, clipping at `limit`."""

    def built(module: nn.Module, limit: float, *, bf16: bool = False) -> Engine:
        config = {
            "torch_autocast": {"enabled": bf16, "dtype": "bfloat16", "lower_precision_safe_modules": []},
            "train_batch_size": 4,
            "optimizer": {"type": "AdamW", "params": {**ADAMW, "torch_adam": True, "fused": True}},
            "gradient_clipping": limit,
            "steps_per_print": 2**31 - 1,
        }
        (tmp_path / "deepspeed.json").write_text(json.dumps(config))
        return Engine(copy.deepcopy(module), tmp_path / "deepspeed.json", ranks=1, compiled=False)

    return built


@pytest.mark.parametrize("limit", [0.5, 1e6, 0.0], ids=["clipped", "below the limit", "no limit"])
def test_steps_give_the_bits_of_deepspeeds_own_clipping_and_of_torchs_adamw(build, limit: float) -> None:
    torch.manual_seed(1)
    module = Small()
    engine = build(module, limit)
    optimizer = torch.optim.AdamW(decay_groups(module), **ADAMW, fused=True)
    for step in range(3):
        engine.train_micro_batch(micro(step), predicted_in_step=4, last=True, seed=step)
        norm = engine.gradient_norm()
        engine.step(ADAMW["lr"])
        optimizer.zero_grad(set_to_none=False)
        (module(**micro(step).tensors).loss_sum * (1 / 4)).backward()
        module.unused.grad = torch.zeros_like(module.unused)
        assert norm == float(clip_grad_norm_(module.parameters(), limit or 1e9))
        optimizer.step()
    assert module.unused[0, 0] < 1  # it has decayed, as it does among several ranks
    for ours, theirs in zip(engine.module.parameters(), module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class Casts(TorchDispatchMode):
    """How often the large weight is made bf16."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and answer.shape == (33, 7) and answer.dtype == torch.bfloat16:
            self.count += 1
        return answer


def test_the_weights_are_cast_once_for_all_micro_batches_of_a_step_and_anew_for_the_next(build) -> None:
    torch.manual_seed(1)
    module = Small()
    kept, plain = build(module, 1.0, bf16=True), build(module, 1.0, bf16=True)

    def train(engine: Engine) -> None:
        for number in range(3):
            engine.train_micro_batch(micro(number), predicted_in_step=12, last=number == 2, seed=number)

    with Casts() as casts:
        for _ in range(2):
            with kept.casts_kept():
                train(kept)
            kept.gradient_norm()
            kept.step(ADAMW["lr"])
    assert casts.count == 2
    with Casts() as casts:
        for _ in range(2):
            train(plain)
            plain.gradient_norm()
            plain.step(ADAMW["lr"])
    assert casts.count == 6
    for ours, theirs in zip(kept.module.parameters(), plain.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_gradient_that_is_not_finite_is_a_norm_that_is_none_and_has_a_name(build) -> None:
    engine = build(Small(), 1.0)
    with torch.no_grad():
        engine.module.second.bias[2] = torch.nan
    engine.train_micro_batch(micro(0), predicted_in_step=4, last=True, seed=0)
    assert not torch.tensor(engine.gradient_norm()).isfinite()
    assert engine.first_non_finite_gradient() == "first.weight"
