"""`runjob fit` proposes the largest micro batch that fits, keeps the global batch, and says what else would help."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.runner.compile import compile_job, share_out
from runjob.runner.fit import find_fit
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job
from tests.conftest import ROOT, Home, Runjob

GIB = 2**30
FOUR = Machine(cores=48, gpus=("NVIDIA A10G",) * 4, processor="some processor")
SMALL = ROOT / "jobs" / "gpt2_dutch_small.yaml"
TINY = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"


def small(*sets: str) -> Job:
    return read_job(SMALL, sets).job


@settings(max_examples=10, deadline=None)
@given(limit=st.integers(GIB, 40 * GIB), tokens=st.booleans())
def test_what_is_proposed_fits_and_the_next_larger_one_does_not(limit: int, tokens: bool) -> None:
    job = small(*(["training.micro_batch=null", "training.micro_tokens=4096"] if tokens else []))
    fit = find_fit(job, share_out(job.hardware, FOUR), limit=limit)
    if fit.best is None:
        assert fit.larger is not None and fit.larger.rows == 1 and fit.larger.takes() > limit
        return
    assert fit.best.takes() <= limit
    assert fit.best.rows == 128 or (fit.larger is not None and fit.larger.takes() > limit)
    if fit.larger is not None:
        assert fit.larger.rows == (fit.best.rows + 1 if tokens else 2 * fit.best.rows)


def test_the_global_batch_stays_and_every_rank_gets_whole_micro_batches() -> None:
    job = small("training.global_batch=480")  # 120 a rank
    fit = find_fit(job, share_out(job.hardware, FOUR), limit=20 * GIB)
    assert fit.best is not None
    plan = compile_job(fit.best.job, FOUR)
    assert (plan.batch.global_batch, 120 % plan.batch.micro_batch) == (480, 0)
    assert fit.best.sets == (f"training.micro_batch={plan.batch.micro_batch}",)


def test_typed_the_proposal_is_what_fits(home: Home, runjob: Runjob) -> None:
    told = json.loads(runjob("fit", SMALL, "--memory", "24GiB", "--json").stdout)
    typed = [word for one in told["fits"]["set"] for word in ("--set", one)]
    planned = json.loads(runjob("plan", SMALL, *typed, "--json").stdout)
    assert planned["batch"]["micro_batch"] == told["fits"]["rows"] > 8
    assert planned["memory"]["device_bytes"] == told["fits"]["bytes"] <= 24 * GIB < told["does_not_fit"]["bytes"]
    again = runjob("fit", SMALL, "--memory", "24GiB", *typed).stdout
    assert "type           nothing: the job says so already" in again


def test_where_no_row_fits_the_settings_that_would_help_are_said(home: Home, runjob: Runjob) -> None:
    file = ROOT / "jobs" / "gpt2_dutch_large.yaml"
    sets = ("--set", "training.gradient_checkpointing=false", "--set", "hardware.zero=0")
    done = runjob("fit", file, "--memory", "10GiB", *sets)
    assert done.returncode == 1, done.stderr
    assert "fits           not even one row at a time" in done.stdout
    together = "--set training.micro_batch=1 --set training.gradient_checkpointing=true --set hardware.zero=3"
    assert f"would fit      {together} (about " in done.stdout
    done = runjob("fit", file, "--memory", "1GiB", *sets)
    assert "would fit      nothing that is known here" in done.stdout and done.returncode == 1


def test_of_rows_that_stay_together_a_group_is_the_least(home: Home, runjob: Runjob) -> None:
    done = runjob("fit", ROOT / "tests" / "cases" / "valid" / "sentence_embedding.yaml", "--memory", "0.1GiB")
    assert "fits           not even one group of 4 rows\n" in done.stdout and done.returncode == 1


def test_memory_that_is_known_need_not_be_said(home: Home, runjob: Runjob) -> None:
    done = runjob("fit", TINY, "--set", "hardware.memory=2GiB")
    assert done.stdout.startswith("memory         2 GiB of a machine's memory\n") and done.returncode == 0
    aws = "hardware.aws={instance: g5.12xlarge, max_hours: 4, region: us-east-1}"
    done = runjob("fit", SMALL, "--launcher", "aws", "--set", aws)
    assert done.stdout.startswith("memory         24 GiB of a GPU\n"), done.stderr
    done = runjob("fit", TINY)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nobody here knows how much memory there will be; write --memory 24GiB" in done.stderr


def test_what_can_not_be_known_and_what_is_no_size_are_refused(home: Home, runjob: Runjob, tmp_path: Path) -> None:
    unknown = 'model.init={"kind": "pretrained", "path": "no/such"}'
    done = runjob("fit", TINY, "--memory", "8GiB", "--set", unknown)
    assert done.returncode == 2 and "how much memory this network takes is unknown" in done.stderr
    done = runjob("fit", TINY, "--memory", "lots")
    assert done.returncode == 2 and "'lots' is not a size such as 24GiB or 500 MB" in done.stderr
    job = read_job(TINY, [unknown]).job
    with pytest.raises(MissingError):
        find_fit(job, share_out(job.hardware, FOUR), limit=GIB)


def test_an_mpnet_that_transformers_can_not_recompute_is_not_told_to() -> None:
    mlm = 'objective={"kind": "mlm", "unit": "token", "probability": 0.15}'
    for sets, advised in (((), True), ((mlm,), False)):
        job = read_job(ROOT / "jobs" / "mpnet_100k.yaml", ["hardware.gpus=1", *sets]).job
        row = find_fit(job, share_out(job.hardware, FOUR), limit=GIB).larger
        assert row is not None and row.rows == 1
        fit = find_fit(job, share_out(job.hardware, FOUR), limit=row.takes() - 1)
        assert fit.best is None
        assert ("training.gradient_checkpointing=true" in str([one.sets for one in fit.others])) == advised
