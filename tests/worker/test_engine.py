"""A step of the engine of one rank: the bits of DeepSpeed's own step, of which it leaves out what changes nothing. And
a step that is left out, and the way back to a checkpoint, at every ZeRO stage: not a bit of what comes after is another
than if that step had never been."""

import copy
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.utils import clip_grad_norm_
from torch import distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode

from runjob.data.batches import MicroBatch
from runjob.runner.worker.bad_step_actions import refuse_overflows
from runjob.runner.worker.bad_steps import BadSteps
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.engine import Engine, decay_groups, start_process_group
from runjob.runner.worker.models.causal_lm import Answer
from runjob.runner.worker.optimizer_state import NamedState, adam_step, gather, put_back
from runjob.schemas.errors import NumericsError
from runjob.schemas.job import OnBadStep

# DeepSpeed never closes the file of its configuration, and its ZeRO asks for parts of torch that torch calls old
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:`torch.*deprecated:DeprecationWarning",
    "ignore:`torch.*deprecated:FutureWarning",
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


RULES = OnBadStep(not_finite="skip", spike=None, skips_in_a_row=5, rewinds=3, rewind_skips=1, overflows_in_a_row=20)
STAGES = [(0, "fp32"), (0, "bf16"), (1, "fp32"), (2, "bf16_params"), (3, "fp32")]
Build = Callable[[], Engine]


class Used(Small):
    """Of which every parameter has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.unused.requires_grad = False


@pytest.fixture(params=STAGES, ids=[f"zero {stage} {precision}" for stage, precision in STAGES])
def build_at(request: pytest.FixtureRequest, tmp_path: Path, group: None) -> Build:
    stage, precision = request.param
    config = {
        "train_batch_size": 4,
        "optimizer": {"type": "AdamW", "params": {**ADAMW, "torch_adam": True, "fused": True}},
        "gradient_clipping": 0.5,
        "steps_per_print": 2**31 - 1,
        "zero_optimization": {"stage": stage, **({"stage3_param_persistence_threshold": 0} if stage == 3 else {})},
    }
    if precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    if precision == "bf16_params":
        config["bf16"] = {"enabled": True}
    torch.manual_seed(1)
    module = Used()
    (tmp_path / "deepspeed.json").write_text(json.dumps(config))
    return lambda: Engine(copy.deepcopy(module), tmp_path / "deepspeed.json", ranks=1, compiled=False)


def compute(engine: Engine, number: int, *, factor: float = 1.0) -> float:
    """Two micro batches and the norm of their gradient."""
    for part in range(2):
        rows = micro(2 * number + part)
        inputs = rows.tensors["inputs"].to(next(engine.module.parameters()).dtype) * factor
        rows = replace(rows, tensors={"inputs": inputs})
        engine.train_micro_batch(rows, predicted_in_step=8, last=part == 1, seed=number)
    return engine.gradient_norm()


def train(engine: Engine, *numbers: int) -> None:
    for number in numbers:
        compute(engine, number)
        assert engine.step(1e-2)


def state(engine: Engine) -> list[NamedState]:
    return list(gather(engine.deepspeed, engine.stage, Copies()))


def assert_equal(one: list[NamedState], other: list[NamedState]) -> None:
    for (name, *mine), (its_name, *its) in zip(one, other, strict=True):
        assert name == its_name
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True)), name


def counters(engine: Engine) -> tuple[int, ...]:
    inner = engine.deepspeed
    return inner.global_steps, inner.global_samples, inner.skipped_steps, inner.micro_steps


@pytest.mark.parametrize("factor", [float("nan"), 30.0], ids=["nan", "spike"])
def test_a_step_that_is_left_out_leaves_nothing_behind(build_at: Build, factor: float) -> None:
    engine, straight = build_at(), build_at()
    for each in (engine, straight):
        train(each, 1)
    before = [nn.Parameter(one.weight.clone()) for one in state(engine)]
    norm = compute(engine, 2, factor=factor)
    assert not norm < 1
    engine.drop_gradients()
    assert_equal(state(engine), state(straight))
    assert all(torch.equal(one, now.weight) for one, now in zip(before, state(engine), strict=True))
    assert counters(engine) == counters(straight)
    for number in (3, 4):
        assert compute(engine, number) == compute(straight, number)
        for each in (engine, straight):
            assert each.step(1e-2)
    assert_equal(state(engine), state(straight))


def test_a_run_whose_first_step_is_left_out_has_zeros_to_save_and_begins_from_them(build_at: Build) -> None:
    engine, straight = build_at(), build_at()
    compute(engine, 2, factor=float("nan"))
    engine.drop_gradients()
    saved = state(engine)
    assert all(not one.exp_avg.any() and not one.exp_avg_sq.any() for one in saved)
    assert adam_step(engine.deepspeed, engine.stage) == 0
    for each in (engine, straight):
        train(each, 3, 4)
    assert_equal(state(engine), state(straight))


def test_going_back_brings_weights_and_moments_and_what_follows_to_the_bit(build_at: Build) -> None:
    engine, straight = build_at(), build_at()
    for each in (engine, straight):
        train(each, 1, 2)
    saved = {one.name: NamedState(one.name, *(tensor.clone() for tensor in one[1:])) for one in state(engine)}
    made = adam_step(engine.deepspeed, engine.stage)
    train(engine, 3, 4)
    compute(engine, 5, factor=30.0)
    engine.drop_gradients()

    def read(kind: str, name: str) -> torch.Tensor:
        return getattr(saved[name], kind)

    put_back(engine.deepspeed, engine.stage, read, step=made)
    assert_equal(state(engine), state(straight))
    for number in (6, 7):
        assert compute(engine, number) == compute(straight, number)
        for each in (engine, straight):
            assert each.step(1e-2)
    assert_equal(state(engine), state(straight))


def train_in_fp16(engine: Engine, *, most: int) -> tuple[list[bool], str]:
    """Which of ten steps were made, and the words by which they ended early."""
    memory, made = BadSteps(), []
    rules = replace(RULES, overflows_in_a_row=most)
    for number in range(10):
        norm = compute(engine, number)
        try:
            refuse_overflows(engine, memory, step=number + 1, norm=norm, most=most)
        except NumericsError as error:
            return made, str(error)
        made.append(engine.step(1e-3))
        memory.note_good(2.0, rules, applied=made[-1])
    return made, ""


def test_fp16_overflows_until_the_scale_fits_and_no_more_than_so_many_times_in_a_row(
    tmp_path: Path, group: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DeepSpeed refuses processors without instructions for fp16; torch computes it there all the same
    monkeypatch.setattr(type(get_accelerator()), "is_fp16_supported", lambda self: True)
    torch.manual_seed(1)
    module = Used()

    def fp16(**more: int) -> Engine:
        config = {
            "train_batch_size": 4,
            "optimizer": {"type": "AdamW", "params": {**ADAMW, "torch_adam": True, "fused": True}},
            "steps_per_print": 2**31 - 1,
            "zero_optimization": {"stage": 2},
            "fp16": {"enabled": True, "loss_scale": 0, "initial_scale_power": 20, **more},
        }
        (tmp_path / "deepspeed.json").write_text(json.dumps(config))
        return Engine(copy.deepcopy(module), tmp_path / "deepspeed.json", ranks=1, compiled=False)

    made, said = train_in_fp16(fp16(), most=20)
    overflows = made.index(True)
    assert overflows >= 3 and said == ""
    made, said = train_in_fp16(fp16(), most=overflows - 1)
    assert made == [False] * (overflows - 1)
    assert f"step {overflows}: the gradient is beyond fp16's range, as in the {overflows - 1} steps before it" in said
    # DeepSpeed would end with an error of its own, which says what to do to nobody
    made, said = train_in_fp16(fp16(min_loss_scale=2**19), most=20)
    assert made == [False, False] and "at a loss scale of 524288; first in that of" in said
