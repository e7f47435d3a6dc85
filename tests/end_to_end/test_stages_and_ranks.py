"""ZeRO stages, ranks and precisions: the same losses in fp32, each one resumed bit for bit, and a checkpoint that
belongs to none of them."""

import pytest
from safetensors.torch import load_file

from runjob.schemas.run import RunDir
from tests.end_to_end.conftest import Bench, assert_same_run, losses, records

pytestmark = pytest.mark.slow
NO_DROPOUT = "model.init.dropout=0"


def shape(zero: int, ranks: int, precision: str) -> tuple[str, ...]:
    return f"hardware.zero={zero}", f"hardware.ranks={ranks}", f"training.precision={precision}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_every_stage_resumes_bit_for_bit_with_dropout(bench: Bench, zero: int, ranks: int, precision: str) -> None:
    straight = bench.submit(*shape(zero, ranks, precision))
    broken = bench.submit(
        *shape(zero, ranks, precision), expect=1, env={"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@14"}
    )
    bench.resume(broken)
    assert_same_run(straight, broken)


@pytest.mark.parametrize("zero", [1, 3])
def test_bf16_parameters_resume_bit_for_bit(bench: Bench, zero: int) -> None:
    straight = bench.submit(*shape(zero, 2, "bf16_params"))
    broken = bench.submit(
        *shape(zero, 2, "bf16_params"), expect=1, env={"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@14"}
    )
    bench.resume(broken)
    assert_same_run(straight, broken)


def test_stages_and_ranks_agree_in_fp32(bench: Bench) -> None:
    reference = losses(bench.submit(*shape(0, 1, "fp32"), NO_DROPOUT))
    for zero, ranks in [(0, 2), (1, 2), (2, 2), (3, 2), (3, 1)]:
        assert losses(bench.submit(*shape(zero, ranks, "fp32"), NO_DROPOUT)) == pytest.approx(reference, rel=1e-5)


def test_cutting_the_global_batch_differently_changes_nothing(bench: Bench) -> None:
    whole = bench.submit(NO_DROPOUT, "training.micro_batch=8")
    halves = bench.submit(NO_DROPOUT, "training.micro_batch=4")
    two_ranks = bench.submit(NO_DROPOUT, "training.micro_batch=4", "hardware.ranks=2")
    for other in (halves, two_ranks):
        assert losses(other) == pytest.approx(losses(whole), rel=1e-6)
        keys = ("batch", "tokens", "predicted", "samples", "learning_rate")
        assert [[r[k] for k in keys] for r in records(other, "train")] == [
            [r[k] for k in keys] for r in records(whole, "train")
        ]


def moments(run: RunDir, step: int) -> dict[str, dict[str, object]]:
    folder = run.checkpoints / f"step-{step:08d}"
    return {kind: load_file(folder / f"{kind}-00001.safetensors") for kind in ("weights", "exp_avg", "exp_avg_sq")}


def test_two_ranks_of_zero_1_go_on_as_one_rank_of_zero_3(bench: Bench) -> None:
    run = bench.submit(*shape(1, 2, "fp32"), NO_DROPOUT, "training.stop_after=7 steps", expect=75)
    saved = moments(run, 7)
    # one step further only to save again: what was loaded into ZeRO 3 comes out of it the same
    bench.resume(run, "--set", "hardware.ranks=1", "--set", "hardware.zero=3")
    straight = bench.submit(*shape(1, 2, "fp32"), NO_DROPOUT)
    assert losses(run) == pytest.approx(losses(straight), rel=1e-4)
    assert [r["batch"] for r in records(run, "train")] == [r["batch"] for r in records(straight, "train")]
    assert saved.keys() == {"weights", "exp_avg", "exp_avg_sq"}
