"""A job and a machine give one plan, always the same: held as files in tests/golden for every job that is shipped.

A meant change of a plan is a change of these files: delete the one in question, run the test once (it writes the new
one and fails), look at the difference, commit it.
"""

import dataclasses
import difflib
from pathlib import Path

import pytest

from runjob.runner.compile import compile_job
from runjob.runner.deepspeed_config import merge
from runjob.schemas.errors import JobError
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
JOBS = sorted([*(ROOT / "jobs").glob("*.yaml"), *(ROOT / "jobs" / "tiny").glob("*.yaml")])
LAPTOP = Machine(cores=2, gpus=(), processor="some processor")
G5 = Machine(cores=48, gpus=("NVIDIA A10G",) * 4, processor="some processor")
TINY = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"


@pytest.mark.parametrize(
    "path", JOBS, ids=lambda path: path.stem if path.parent.name == "jobs" else f"tiny-{path.stem}"
)
def test_every_shipped_job_compiles_to_its_golden_plan(path: Path) -> None:
    plan = compile_job(read_job(path).job, G5 if path.parent.name == "jobs" else LAPTOP)
    name = path.stem if path.parent.name == "jobs" else f"tiny-{path.stem}"
    golden = GOLDEN / f"{name}.plan.json"
    if not golden.exists():
        golden.write_text(plan.to_json(), encoding="utf-8")
        pytest.fail(f"wrote {golden.name}: look at it and commit it")
    expected = golden.read_text(encoding="utf-8")
    difference = difflib.unified_diff(expected.splitlines(), plan.to_json().splitlines(), lineterm="", n=1)
    assert plan.to_json() == expected, "\n".join(difference)


def test_no_golden_plan_is_left_of_a_job_that_is_gone() -> None:
    stems = {path.stem if path.parent.name == "jobs" else f"tiny-{path.stem}" for path in JOBS}
    assert {path.name.removesuffix(".plan.json") for path in GOLDEN.glob("*.plan.json")} == stems


@pytest.mark.parametrize(
    ("size", "parameters"), [("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080)]
)
def test_the_plan_counts_the_parameters_of_the_three_sizes(size: str, parameters: int) -> None:
    job = read_job(ROOT / "jobs" / f"gpt2_dutch_{size}.yaml").job
    assert compile_job(job, G5).parameters == parameters


def tiny(*sets: str) -> Job:
    return read_job(TINY, sets).job


def test_a_plan_survives_its_file_but_for_what_only_who_plans_wants() -> None:
    plan = compile_job(tiny(), LAPTOP)
    assert plan.work is not None
    assert Plan.from_json(plan.to_json()) == dataclasses.replace(plan, work=None)


def test_threads_are_the_cores_shared_by_the_ranks() -> None:
    assert compile_job(tiny("hardware.ranks=2"), LAPTOP).resources.threads == 1
    assert compile_job(tiny(), LAPTOP).resources.threads == 2
    assert compile_job(tiny("hardware.threads=7"), LAPTOP).resources.threads == 7


def test_the_batch_is_cut_over_ranks_and_then_over_micro_batches() -> None:
    plan = compile_job(tiny("training.global_batch=24", "training.micro_batch=4", "hardware.ranks=2"), LAPTOP)
    assert (plan.batch.global_batch, plan.batch.ranks, plan.batch.micro_batch, plan.batch.accumulation) == (24, 2, 4, 3)
    assert plan.deepspeed["train_batch_size"] == 24
    assert plan.deepspeed["train_micro_batch_size_per_gpu"] == 4
    assert plan.deepspeed["gradient_accumulation_steps"] == 3


def test_a_micro_batch_larger_than_the_share_is_the_share() -> None:
    plan = compile_job(tiny("training.global_batch=8", "training.micro_batch=8", "hardware.ranks=4"), LAPTOP)
    assert (plan.batch.micro_batch, plan.batch.accumulation) == (2, 1)


def test_gpus_that_do_not_divide_the_batch_are_answered_with_the_nearest_two() -> None:
    job = read_job(ROOT / "jobs" / "gpt2_dutch_small.yaml", ["training.global_batch=100", "training.micro_batch=8"]).job
    with pytest.raises(JobError, match=r"not a multiple of 32.*nearest that work are 96 and 128"):
        compile_job(job, G5)


FACTS = Facts(rows=5001, tokens=300_060, left_out=0, padding=0.1, micro_batches={"1": (2, 3)})


def test_epochs_become_steps_once_the_rows_are_known() -> None:
    job = tiny("training.length=3 epochs")
    assert compile_job(job, LAPTOP).steps is None
    assert "runjob prepare" in compile_job(job, LAPTOP).unknown[0]
    # 3 x 5001 rows in steps of 8: 1875.4, and the last step is not dropped
    assert compile_job(job, LAPTOP, facts=FACTS).steps == 1876


def test_tokens_become_steps_by_what_a_step_of_lines_holds_on_average() -> None:
    job = tiny("training.length=48k tokens", "data.layout=lines")
    assert compile_job(job, LAPTOP).steps is None
    # rows of 60 tokens: 480 a step
    assert compile_job(job, LAPTOP, facts=FACTS).steps == 100


def test_a_row_of_two_texts_may_hold_twice_the_tokens_and_each_looks_at_itself_alone() -> None:
    case = ROOT / "tests" / "cases" / "valid" / "sentence_embedding.yaml"
    whole, shorter = (read_job(case, [f"data.sequence_length={length}"]).job for length in (64, 32))
    assert compile_job(whole, LAPTOP).tokens_per_step == 16 * 2 * 64 == compile_job(whole, LAPTOP).work.tokens
    # texts that are half as long as they may be, none of them padded
    facts = Facts(rows=100, tokens=100 * 2 * 32, left_out=0, padding=0.0, micro_batches={})
    halves = compile_job(whole, LAPTOP, facts=facts).work
    assert halves == dataclasses.replace(compile_job(shorter, LAPTOP).work, most=False)


def test_by_tokens_deepspeed_is_told_the_most_micro_batches_there_can_be() -> None:
    sets = "training.global_batch=24", "training.micro_batch=null", "training.micro_tokens=512", "hardware.ranks=2"
    plan = compile_job(tiny(*sets), LAPTOP)
    assert (plan.batch.micro_batch, plan.batch.accumulation, plan.batch.micro_tokens) == (1, 12, 512)
    assert plan.deepspeed["train_micro_batch_size_per_gpu"] == 1
    assert plan.deepspeed["gradient_accumulation_steps"] == 12


@pytest.mark.parametrize(
    ("precision", "section"),
    [
        ("bf16", {"torch_autocast": {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}}),
        ("bf16_params", {"bf16": {"enabled": True}}),
    ],
)
def test_each_precision_has_its_section(precision: str, section: dict[str, object]) -> None:
    config = compile_job(tiny(f"training.precision={precision}", "hardware.zero=1"), LAPTOP).deepspeed
    assert section.items() <= dict(config).items()


def test_zero_3_keeps_no_parameter_back() -> None:
    config = compile_job(tiny("hardware.zero=3"), LAPTOP).deepspeed
    assert config["zero_optimization"] == {"stage": 3, "stage3_param_persistence_threshold": 0}


def test_offloading_names_its_device() -> None:
    sets = ["hardware.zero=3", "hardware.offload.optimizer=cpu", "hardware.offload.parameters=cpu"]
    zero = compile_job(tiny(*sets), LAPTOP).deepspeed["zero_optimization"]
    assert zero["offload_optimizer"] == {"device": "cpu"}
    assert zero["offload_param"] == {"device": "cpu"}


def test_what_the_job_adds_for_deepspeed_is_laid_over_the_rest() -> None:
    added = "hardware.deepspeed={zero_optimization: {reduce_bucket_size: 1000}, wall_clock_breakdown: true}"
    config = compile_job(tiny("hardware.zero=2", added), LAPTOP).deepspeed
    assert config["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1000}
    assert config["wall_clock_breakdown"] is True


def test_merging_leaves_its_arguments_alone() -> None:
    base = {"a": {"b": 1}}
    assert merge(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


def test_torchrun_waits_longer_than_its_own_30_seconds_for_a_save() -> None:
    argv = compile_job(tiny(), LAPTOP).stages[-1].argv
    assert any(word.startswith("--shutdown-timeout=") and int(word.split("=")[1]) >= 600 for word in argv)
    assert argv[-1] == "{run}"


def test_what_nobody_knows_of_a_stream_is_called_unknown() -> None:
    plan = compile_job(read_job(ROOT / "tests" / "cases" / "valid" / "hub_streaming.yaml").job, LAPTOP)
    assert plan.steps == 10_000
    assert plan.unknown == ("tokens of an epoch: where a stream ends is known when it has been read to there",)
