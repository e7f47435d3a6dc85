"""ZeRO stages, ranks and precisions: the same losses in fp32, each one resumed bit for bit, and a checkpoint that
belongs to none of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.schemas.machine import kernel_compiler
from tests.end_to_end.conftest import Bench, Straight, assert_same_run, losses, records

pytestmark = pytest.mark.slow
NO_DROPOUT = "model.init.dropout=0"


def shape(zero: int, ranks: int, precision: str) -> tuple[str, ...]:
    return f"hardware.zero={zero}", f"hardware.ranks={ranks}", f"training.precision={precision}"


# Every stage, every precision of a CPU, one rank and two; the whole table is benchmarks/stages.py.
SHAPES = [
    (0, 1, "bf16"),
    pytest.param(1, 2, "bf16", marks=pytest.mark.nightly),
    pytest.param(2, 2, "fp32", marks=pytest.mark.nightly),
    (3, 2, "bf16_params"),
]


@pytest.mark.parametrize(("zero", "ranks", "precision"), SHAPES)
def test_every_stage_resumes_bit_for_bit_with_dropout(bench: Bench, zero: int, ranks: int, precision: str) -> None:
    straight = bench.submit(*shape(zero, ranks, precision))
    fault = {"RUNJOB_TEST_FAULT": "checkpoint-before-manifest@14"}
    broken = bench.submit(*shape(zero, ranks, precision), expect=1, env=fault)
    bench.resume(broken)
    assert_same_run(straight, broken)
    expected = "fused" if precision == "bf16" and kernel_compiler() is not None else "torch"
    assert [start["kernels"] for start in records(broken, "start")] == [expected, expected]


def test_stages_and_ranks_agree_in_fp32(straight: Straight) -> None:
    reference = losses(straight(*shape(0, 1, "fp32"), NO_DROPOUT))
    for zero, ranks in [(0, 2), (1, 2), (2, 2), (3, 2), (3, 1)]:
        assert losses(straight(*shape(zero, ranks, "fp32"), NO_DROPOUT)) == pytest.approx(reference, rel=1e-5)


def test_cutting_the_global_batch_differently_changes_nothing(straight: Straight) -> None:
    whole = straight(*shape(0, 1, "fp32"), NO_DROPOUT, "training.micro_batch=8")
    halves = straight(*shape(0, 1, "fp32"), NO_DROPOUT)
    two_ranks = straight(*shape(0, 2, "fp32"), NO_DROPOUT)
    for other in (halves, two_ranks):
        assert losses(other) == pytest.approx(losses(whole), rel=1e-6)
        keys = ("batch", "tokens", "predicted", "samples", "learning_rate")
        assert [[r[k] for k in keys] for r in records(other, "train")] == [
            [r[k] for k in keys] for r in records(whole, "train")
        ]


def test_two_ranks_of_zero_1_go_on_as_one_rank_of_zero_3(bench: Bench, straight: Straight) -> None:
    run = bench.submit(*shape(1, 2, "fp32"), NO_DROPOUT, "training.stop_after=7 steps", expect=75)
    bench.resume(run, "--set", "hardware.ranks=1", "--set", "hardware.zero=3")
    unbroken = straight(*shape(1, 2, "fp32"), NO_DROPOUT)
    assert losses(run) == pytest.approx(losses(unbroken), rel=1e-4)
    assert [r["batch"] for r in records(run, "train")] == [r["batch"] for r in records(unbroken, "train")]


def gather(bench: Bench, folder: str, *, zero: int, ranks: int, verb: str) -> dict[str, str]:
    """Run the program beside this file under torchrun: sha256 of every tensor that it gathered."""
    argv = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}")
    done = subprocess.run(
        [*argv, str(Path(__file__).with_name("gather_program.py")), verb, folder, str(zero)],
        env=bench.home.env | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("zero", "ranks"), [(3, 1), pytest.param(2, 1, marks=pytest.mark.nightly), (0, 2)])
def test_weights_and_moments_go_into_another_stage_and_come_out_the_same(bench: Bench, zero: int, ranks: int) -> None:
    saved = gather(bench, str(bench.home.path), zero=1, ranks=2, verb="save")
    loaded = gather(bench, str(bench.home.path), zero=zero, ranks=ranks, verb="load")
    assert len(saved) == 28 * 3
    assert loaded == saved
