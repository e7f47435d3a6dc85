"""How long a job would train on a rented machine and what that costs, by figures computed by hand; and what is said
where the machine ends before the job."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.launchers.accelerators import COMPUTED_IN, speeds
from runjob.launchers.aws import AwsLauncher
from runjob.launchers.aws_preview import foreseen_machine, preview
from runjob.launchers.aws_prices import table
from runjob.launchers.aws_time import Expected, expected_time
from runjob.launchers.full_speed import in_words
from runjob.runner.compile import compile_job
from runjob.schemas.errors import MissingError
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job
from tests.conftest import ROOT

LAPTOP = Machine(cores=2, gpus=(), processor="some processor")
# One step of GPT-2 small, 512 rows of 1024. A block of 12 has 4 x 768 x 768 weights for attention and 2 x 768 x 3072
# behind it, the head 768 x 50257; and a place multiplies twice 768 with the 512 that, on average, stand before it.
STEP = 6 * 512 * 1024 * (12 * (4 * 768**2 + 2 * 768 * 3072) + 768 * 50257 + 12 * 2 * 768 * 512)


def job_on(instance: str, *sets: str, file: str = "gpt2_dutch_small", max_hours: float = 12, **more: object) -> Job:
    block = {"instance": instance, "max_hours": max_hours, "region": "us-east-1", **more}
    return read_job(ROOT / "jobs" / f"{file}.yaml", [f"hardware.aws={json.dumps(block)}", *sets]).job


def planned(job: Job, *, facts: Facts | None = None) -> Plan:
    return compile_job(job, foreseen_machine(job) or LAPTOP, facts=facts)


def expected(job: Job, *, done: int = 0, facts: Facts | None = None) -> Expected:
    return expected_time(job, planned(job, facts=facts), foreseen_machine(job), done=done)


def said(job: Job) -> dict[str, str]:
    return {line[:12].strip(): line[13:] for line in preview(job, planned(job)).splitlines()}


def test_a_step_of_gpt2_small_is_418_trillion_operations() -> None:
    assert STEP == 418_284_985_909_248
    work = planned(job_on("g5.xlarge", "training.length=1000 steps")).work
    assert work is not None and (work.operations, work.tokens, work.most) == (STEP, 524_288, False)


def test_four_a10g_in_bf16_take_83_minutes_for_a_thousand_steps() -> None:
    """4.18e17 operations over 30 % of 4 x 70e12: 4,980 s, at $5.672 an hour $7.85."""
    job = job_on("g5.12xlarge", "training.length=1000 steps")
    assert expected(job).hours == pytest.approx(1000 * STEP / (0.3 * 4 * 70e12) / 3600)
    assert expected(job).hours == pytest.approx(4980 / 3600, rel=1e-3)
    assert said(job)["time"] == (
        "about 1.4 h to train: 4.2e17 operations at 30% (assumed) of 4 x NVIDIA A10G, 70 TFLOP/s each in bf16 "
        f"(table of {speeds().date})"
    )
    assert said(job)["cost"].startswith("about $7.85 to train; at most $68.06 = 12 h x $5.672 an hour (us-east-1, ")
    assert not {"careful", "missing"} & set(said(job))


def test_one_t4_in_fp16_takes_six_hours_for_the_same() -> None:
    """4.18e17 over 30 % of 65e12: 21,450 s, at $0.526 an hour $3.13."""
    job = job_on("g4dn.xlarge", "training.length=1000 steps", "training.precision=fp16")
    assert expected(job).hours == pytest.approx(21_450 / 3600, rel=1e-3)
    assert said(job)["time"].startswith("about 6 h to train: 4.2e17 operations at 30% (assumed) of 1 x NVIDIA T4, 65 ")
    assert said(job)["cost"].startswith("about $3.13 to train; at most $6.31 = 12 h x $0.526 an hour")


def test_of_a_machine_without_gpus_no_time_is_said_and_the_most_it_costs_is() -> None:
    job = job_on("c7i.large", file="tiny/gpt2_dutch")
    assert expected(job).hours is None
    measured = "--set hardware.aws.tokens_per_s=... says it, once a run has shown it"
    assert said(job)["time"] == f"unknown: of device cpu there is no figure; {measured}"
    assert said(job)["cost"].startswith("at most $1.07 = 12 h x $0.0893 an hour")


def test_what_was_measured_counts_before_the_estimate_on_any_machine() -> None:
    """1,800 steps of 1,024 tokens at 2,048 a second: 900 s."""
    job = job_on("c7i.large", file="tiny/gpt2_dutch", tokens_per_s=2048)
    assert said(job)["time"] == "about 15 min to train: 1,843,200 tokens at 2,048 a second (hardware.aws.tokens_per_s)"
    assert said(job)["cost"].startswith("about $0.02 to train; at most $1.07")


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (job_on("g5.xlarge"), "the number of steps is not known either"),
        (job_on("g4dn.xlarge", "training.length=9 steps"), "NVIDIA T4 has no bf16 units (table of "),
        (job_on("p4d.24xlarge", "training.length=9 steps"), "the type is not in the table of "),
        (
            job_on("g5.xlarge", "training.length=9 steps", "model.init={kind: pretrained, path: some/model}"),
            "neither the job nor a file here says the network's sizes",
        ),
    ],
    ids=["epochs of unprepared data", "no units for the precision", "unknown type", "unknown model"],
)
def test_what_nobody_can_know_is_called_unknown_with_the_reason(job: Job, why: str) -> None:
    assert expected(job).hours is None
    assert expected(job).how.startswith(why)
    assert said(job)["time"].startswith(f"unknown: {why}")
    assert "to train" not in said(job)["cost"]


def test_a_type_that_the_price_table_lacks_is_estimated_by_the_gpus_that_amazon_names() -> None:
    job = job_on("p4d.24xlarge", "training.length=1000 steps")
    machine = Machine(cores=96, gpus=("NVIDIA A100",) * 8, processor="AWS p4d.24xlarge")
    hours = expected_time(job, compile_job(job, machine), machine, done=0).hours
    assert hours == pytest.approx(1000 * STEP / (0.3 * 8 * 312e12) / 3600)


def test_a_job_that_takes_fewer_gpus_than_there_are_computes_on_those() -> None:
    alone = expected(job_on("g5.xlarge", "training.length=90 steps")).hours
    assert expected(job_on("g5.12xlarge", "training.length=90 steps", "hardware.gpus=1")).hours == alone


def test_length_in_tokens_and_in_epochs_is_the_same_once_the_rows_are_known() -> None:
    facts = Facts(rows=51_200, tokens=51_200 * 1024, left_out=0, padding=0.0, micro_batches={})
    hundred = expected(job_on("g5.xlarge", "training.length=100 steps")).hours
    assert expected(job_on("g5.xlarge", "training.length=52428800 tokens")).hours == hundred
    assert expected(job_on("g5.xlarge", "training.length=1 epoch"), facts=facts).hours == hundred


def test_rows_of_different_length_are_an_upper_bound_until_they_are_known() -> None:
    """As if each had all 512 tokens; prepared, they have 128 on average and a fifth of what is computed is padding."""
    job = job_on("g5.xlarge", "training.length=2000 steps", file="modernbert_student")
    assert said(job)["time"].startswith("at most about ")
    facts = Facts(rows=3200, tokens=3200 * 128, left_out=0, padding=0.2, micro_batches={})
    full, known = planned(job).work, planned(job, facts=facts).work
    assert full is not None and known is not None and known.operations is not None
    assert (full.tokens, full.most, known.tokens, known.most) == (32 * 512, True, 32 * 128, False)
    # twelve blocks of 4 x 384 x 384 and 3 x 384 x 768, a head for 30 % of the places; the forward pass is made twice
    weights = 12 * (4 * 384**2 + 3 * 384 * 768) + 0.3 * (384**2 + 384 * 50368)
    assert known.operations == pytest.approx(8 * 32 * 160 * (weights + 12 * 2 * 384 * 160))


def test_what_is_left_counts_after_a_resume_and_up_to_a_pause() -> None:
    whole = job_on("g5.xlarge", "training.length=1000 steps")
    tenth = expected(job_on("g5.xlarge", "training.length=100 steps")).hours
    assert expected(whole, done=900).hours == pytest.approx(tenth)
    paused = job_on("g5.xlarge", "training.length=1000 steps", "training.stop_after=100 steps")
    assert expected(paused).hours == pytest.approx(tenth)
    assert expected(paused, done=200).hours == 0


LATE = (
    "hardware.aws.max_hours: {hours}, and training takes about 1.4 h: the machine may end before; {kept}; "
    "--set hardware.aws.max_hours=3 gives it time"
)


def in_time(job: Job) -> tuple[str, ...]:
    """As the submission asks."""
    machine = foreseen_machine(job)
    assert machine is not None
    return AwsLauncher().in_time(job, compile_job(job, machine), machine, done=0)


def test_a_machine_that_would_end_before_the_job_is_said_and_rented() -> None:
    job = job_on("g5.12xlarge", "training.length=1000 steps", max_hours=1)
    kept = "without output.remote what nobody has fetched by then (`runjob fetch ID`) is gone"
    assert in_time(job) == (LATE.format(hours=1, kept=kept),)
    assert said(job)["careful"] == LATE.format(hours=1, kept=kept)
    assert said(job)["cost"].startswith("about $7.85 to train, longer than max_hours; at most $5.67 = 1 h x $5.672 ")


def test_one_that_can_not_reach_the_end_at_full_speed_is_refused_unless_its_checkpoints_are_kept() -> None:
    """25 minutes at the peak of all four."""
    sets = "training.length=1000 steps"
    job = job_on("g5.12xlarge", sets, max_hours=0.4)
    with pytest.raises(MissingError) as refused:
        in_time(job)
    assert str(refused.value).startswith(
        "hardware.aws.max_hours: 0.4, and even at the full speed of 4 x NVIDIA A10G, 70 TFLOP/s each in bf16 (table of "
    )
    assert str(refused.value).endswith(
        ") training takes 25 min: the machine would end before, and all would be gone; "
        "--set hardware.aws.max_hours=3 gives it time, or name output.remote and resume from there"
    )
    assert said(job)["missing"] == str(refused.value)
    assert "careful" not in said(job)
    kept = "what it has saved by then is at output.remote, and `runjob resume ID` goes on from there"
    with_remote = job_on("g5.12xlarge", sets, "output.remote=s3://bucket/runs", max_hours=0.4)
    assert in_time(with_remote) == (LATE.format(hours=0.4, kept=kept),)


@pytest.mark.parametrize(
    "sets",
    [
        ("evaluation.early_stopping={metric: loss, patience: 3 evaluations}",),
        ("data.layout=lines",),
        ('hardware.aws={"instance": "g5.12xlarge", "max_hours": 0.1, "tokens_per_s": 1000}',),
    ],
    ids=["may stop early", "rows may be short", "the user has measured"],
)
def test_nothing_is_refused_that_is_not_certain(sets: tuple[str, ...]) -> None:
    (line,) = in_time(job_on("g5.12xlarge", "training.length=1000 steps", *sets, max_hours=0.1))
    assert line.startswith("hardware.aws.max_hours: 0.1, and training takes ")


def test_advice_names_the_budget_that_it_needs_and_never_more_hours_than_may_be() -> None:
    (line,) = in_time(job_on("g5.12xlarge", "training.length=20000 steps", max_hours=12, budget_usd=70))
    assert line.endswith("; --set hardware.aws.max_hours=36 --set hardware.aws.budget_usd=205 gives it time")
    (line,) = in_time(job_on("g5.12xlarge", "training.length=500000 steps", max_hours=600))
    assert line.endswith("; no machine may live longer than 720 h: take a faster one, or a shorter training.length")


@given(hours=st.floats(0.001, 1e5))
def test_a_time_in_words_is_off_by_less_than_a_twentieth_or_half_a_minute(hours: float) -> None:
    number, unit = in_words(hours).split()
    shown = float(number.replace(",", "")) / {"h": 1, "min": 60}[unit]
    assert abs(shown - hours) <= max(hours / 20, 1 / 60)


def test_the_table_of_speeds_has_a_date_a_source_and_all_gpus_of_the_price_table() -> None:
    assert datetime.date.fromisoformat(speeds().date) <= datetime.date(2100, 1, 1)
    assert "NVIDIA's data sheets" in speeds().source
    assert {row.gpu for row in table().rows.values() if row.gpus} <= set(speeds().gpus)
    for name, speed in speeds().gpus.items():
        for precision in COMPUTED_IN:
            peak = speed.peak(precision)
            assert peak is None or peak >= speed.fp32, f"{name}: {precision} slower than fp32"
    a10g = speeds().gpus["NVIDIA A10G"]
    assert (a10g.peak("fp32"), a10g.peak("bf16_params"), a10g.peak("fp16")) == (35, 70, 70)
