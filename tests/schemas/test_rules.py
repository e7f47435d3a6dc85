"""Rules beyond the schema: what each lets pass (tests/cases/invalid says what each refuses), and the arithmetic."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runjob.schemas.batch_rule import batch_problem
from runjob.schemas.derived import DERIVED_KEYS, WHY_FIXED, dotted_keys, refuse_derived
from runjob.schemas.read import JobFileError, read_job
from runjob.schemas.reserved import ELSEWHERE
from runjob.schemas.schema import bundled_schema, follow, variants

CASES = Path(__file__).parent.parent / "cases" / "valid"
SMALLEST = CASES / "smallest.yaml"


@pytest.mark.parametrize(
    "sets",
    [
        ["hardware.ranks=8"],  # a share of 1 is one micro batch of 1
        ["training.global_batch=3", "training.micro_batch=8"],  # smaller than a micro batch
        ["hardware.device=cuda", "hardware.gpus=all", "training.global_batch=100"],  # GPUs known only at the start
        ["hardware.device=cuda", "hardware.gpus=4", "training.global_batch=32"],
        ["hardware.nodes=2", "hardware.ranks=1", "training.global_batch=8"],
        ["training.schedule.warmup=29 steps"],
        ["training.schedule.warmup=0"],
        ["training.schedule.warmup=0 steps"],
        ["training.schedule.warmup=2 epochs"],  # against steps only the data can tell
        ["training.length=1k tokens", "training.schedule.warmup=999 tokens"],
        ["training.schedule={kind: warmup_stable_decay, warmup: 0.2, decay: 0.8}"],
        ["training.schedule={kind: warmup_stable_decay, warmup: 10 steps, decay: 20 steps}"],
        ["training.stop_after=29 steps"],
        ["tracking.profile={first: 30, last: 30}"],
        ["tracking.profile={first: 901, last: 1000}", "training.length=1 epochs"],
        ["training.length=1.5k steps"],
        ["training.length=0.5 epochs"],
        ["data.sequence_length=128"],
        ["data.tokenizer.vocab_size=259"],
        ["training.precision=bf16"],
        ["training.precision=bf16_params", "hardware.zero=1"],
        ["training.precision=fp16", "hardware.device=cuda", "hardware.gpus=1"],
        ["hardware.zero=1", "hardware.offload.optimizer=cpu"],
        ["hardware.zero=3", "hardware.offload={optimizer: cpu, parameters: cpu}"],
        ["hardware.device=mps", "hardware.ranks=1"],
        ["training.compile=true", "hardware.zero=2"],
        ["training.kernels=fused", "training.precision=bf16"],
        ["evaluation={every: never, best: null}"],
        ["hardware.deepspeed={wall_clock_breakdown: true, zero_optimization: {overlap_comm: true}}"],
    ],
    ids=" ".join,
)
def test_what_is_right_passes(sets):
    read_job(SMALLEST, sets)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["hardware.nodes=3"], "--set hardware.nodes=3: training.global_batch: 8 is not a multiple of 3"),
        (["hardware.zero=1", "hardware.offload.parameters=cpu"], "cpu needs hardware.zero 3, not 1"),
        (["hardware.offload.optimizer=cpu"], "cpu needs hardware.zero 1 to 3, not 0"),
        (["training.schedule.warmup=2k tokens", "training.length=1 steps"], "2k tokens is not shorter than the run"),
        (["training.stop_after=2 steps", "training.length=1k tokens"], "2 steps is not before the end"),
        (
            ["evaluation.early_stopping={metric: loss, patience: 0.5 evaluations}"],
            "0.5 evaluations is not a whole number",
        ),
        (
            ["training.kernels=fused", "training.precision=bf16", "training.compile=true"],
            "fused can't be: the kernels are not for training.compile, which makes its own",
        ),
        (
            ["training.kernels=fused", "hardware.device=mps", "hardware.ranks=1"],
            "fused can't be: the kernels are for processors, and hardware.device is mps",
        ),
        (["hardware.deepspeed.zero_optimization=3"], "expected keys with values; the stage is hardware.zero"),
    ],
)
def test_what_is_wrong_is_refused(sets, said):
    with pytest.raises(JobFileError) as caught:
        read_job(SMALLEST, sets)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def cuts(global_batch: int, micro_batch: int, ranks: int) -> bool:
    """The definition, by trying."""
    share = global_batch / ranks
    return share == int(share) >= 1 and (share <= micro_batch or share % micro_batch == 0)


@given(st.integers(1, 400), st.integers(1, 12), st.integers(1, 12))
def test_a_batch_problem_names_the_nearest_two_that_work(global_batch, micro_batch, ranks):
    said = batch_problem(global_batch, micro_batch, ranks)
    assert (said is None) == cuts(global_batch, micro_batch, ranks)
    assume(said is not None)
    below = next((n for n in range(global_batch - 1, 0, -1) if cuts(n, micro_batch, ranks)), None)
    above = next(n for n in range(global_batch + 1, 2000) if cuts(n, micro_batch, ranks))
    tail = f"the nearest that work are {below} and {above}" if below else f"the smallest that works is {above}"
    assert said.endswith(tail)


def test_every_owner_of_a_derived_key_is_a_field_of_a_job():
    for owners in DERIVED_KEYS.values():
        for owner in filter(None, owners.split(" and ")):
            schema = bundled_schema()
            for key in owner.split("."):
                schema = follow(schema["properties"][key])


def test_every_derived_key_has_an_owner_or_a_reason():
    assert {key for key, owner in DERIVED_KEYS.items() if not owner} == set(WHY_FIXED)
    for key in DERIVED_KEYS:
        assert refuse_derived(key)
        assert refuse_derived(f"{key}.below") == refuse_derived(key)


def test_other_keys_pass_to_deepspeed():
    assert dotted_keys({"a": {"b": 1}, "c": 2}) == ["a", "a.b", "c"]
    assert refuse_derived("zero_optimization") is None
    assert refuse_derived("zero_optimization.overlap_comm") is None
    assert refuse_derived("train_batch_size_hint") is None


@pytest.mark.parametrize(
    "path",
    [
        "training.length",
        "training.stop_after",
        "training.log_every",
        "training.checkpoint.every",
        "evaluation.every",
    ],
)
@pytest.mark.parametrize(
    ("amount", "said"), [("0 steps", "must be more than 0 steps"), ("1.5 steps", "not a whole number")]
)
def test_every_amount_is_whole_and_more_than_nothing(path, amount, said):
    with pytest.raises(JobFileError) as caught:
        read_job(SMALLEST, [f"{path}={amount}"])
    assert any(problem.path == path and said in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("amount", ["warmup: 1.5 steps, decay: 3 steps", "warmup: 2 steps, decay: 3.5 steps"])
def test_warm_up_and_decay_are_whole_steps(amount):
    with pytest.raises(JobFileError, match="not a whole number of steps"):
        read_job(SMALLEST, [f"training.schedule={{kind: warmup_stable_decay, {amount}}}"])


def fields_at(path: str) -> list[dict]:
    """The schemas of a dotted path, in every variant that has it."""
    found = [bundled_schema()]
    for key in filter(None, path.split(".")):
        branches = [b for schema in found for b in (variants(schema).values() if "oneOf" in schema else [schema])]
        found = [follow(branch["properties"][key]) for branch in branches if key in branch["properties"]]
    return found


def test_what_other_tools_call_a_field_points_to_one_that_exists():
    for name, path in ELSEWHERE.items():
        assert fields_at(path), name
