"""What a job that ran out of memory is told: its own numbers, the global batch as it was, and advice that validates."""

from pathlib import Path

import pytest

from runjob.schemas.less_memory import less_memory, say_less_memory
from runjob.schemas.read import read_job

JOB = Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml"
PAIRS = JOB.with_name("sentence_embedding.yaml")  # in groups of 4
SIZES = ("training.global_batch=24", "data.sequence_length=64")


def told(*sets: str, ranks: int = 1, where: str = "training") -> tuple[str, ...]:
    job = read_job(JOB, [*SIZES, f"hardware.ranks={ranks}", *sets]).job
    return less_memory(job, ranks=ranks, where=where)


def test_the_micro_batch_first_then_what_costs_time_and_the_length_last() -> None:
    assert told("training.micro_batch=12", ranks=2) == (
        "training.micro_batch=6 (now 12; the global batch stays 24 rows, on each rank in 2 micro batches instead of 1)",
        "training.gradient_checkpointing=true (keeps little of each layer and computes it twice)",
        "hardware.zero=2 (the 2 ranks share gradients and optimiser state)",
        "data.sequence_length=48 (now 64; other rows, so it needs a new job)",
    )


def test_a_budget_of_tokens_is_halved_down_to_one_row() -> None:
    by_tokens = ("training.micro_batch=null", "training.gradient_checkpointing=true")
    assert told(*by_tokens, "training.micro_tokens=100")[0].startswith("training.micro_tokens=64 (now 100;")
    assert told(*by_tokens, "training.micro_tokens=64")[0].startswith("data.sequence_length=48")


def test_an_evaluation_is_told_of_its_own_micro_batch() -> None:
    assert told("training.micro_batch=8", where="evaluation")[0] == "evaluation.micro_batch=4 (now 8)"
    assert told("training.micro_batch=8", "evaluation.micro_batch=20", where="evaluation")[0] == (
        "evaluation.micro_batch=10 (now 20)"
    )
    assert told("training.micro_batch=1", where="evaluation")[0].startswith("data.sequence_length=48")


@pytest.mark.parametrize(
    ("micro", "evaluated", "said"),
    [
        (16, 24, ("training.micro_batch=8 (now 16", "evaluation.micro_batch=12 (now 24")),
        (16, 12, ("training.micro_batch=8 (now 16", "evaluation.micro_batch=4 (now 12")),
        (4, 4, ("training.gradient_checkpointing", "data.sequence_length")),
    ],
)
def test_groups_of_rows_stay_whole_in_what_is_told(micro: int, evaluated: int, said: tuple[str, str]) -> None:
    sets = ["hardware.ranks=1", f"training.micro_batch={micro}", f"evaluation.micro_batch={evaluated}"]
    job = read_job(PAIRS, sets).job
    for where, begin in zip(("training", "evaluation"), said, strict=True):
        first = less_memory(job, ranks=1, where=where)[0]
        assert first.startswith(begin)
        read_job(PAIRS, [*sets, first.partition(" ")[0]])


@pytest.mark.parametrize(("ranks", "micro"), [(1, 1), (1, 8), (1, 24), (2, 3), (2, 12), (3, 8), (3, 4)])
def test_what_is_told_is_a_job_that_validates_with_the_same_global_batch(ranks: int, micro: int) -> None:
    for one in told(f"training.micro_batch={micro}", ranks=ranks):
        setting = one.partition(" ")[0]
        job = read_job(JOB, [*SIZES, f"hardware.ranks={ranks}", f"training.micro_batch={micro}", setting]).job
        assert job.training.global_batch == 24


def test_the_command_names_the_run_and_a_new_length_needs_a_new_one() -> None:
    job = read_job(JOB, [*SIZES, "training.micro_batch=2"]).job
    said = say_less_memory(job, run_id="small-1a2b3c4d", ranks=1, where="training").splitlines()
    assert said[0].startswith("runjob resume small-1a2b3c4d --set training.micro_batch=1 (now 2;")
    assert said[1].startswith("  or --set training.gradient_checkpointing=true")
    least = read_job(JOB, [*SIZES, "training.micro_batch=1", "training.gradient_checkpointing=true"]).job
    assert say_less_memory(least, run_id="x", ranks=1, where="training").startswith("start it anew with --set data.")
