"""What a worker imports before it trains, as Python itself counts it."""

import importlib.util

import pytest

from tests.end_to_end.conftest import Bench

pytestmark = pytest.mark.slow


def test_training_waits_for_no_tracker_that_the_job_does_not_name(bench: Bench):
    assert importlib.util.find_spec("mlflow") is not None, "DeepSpeed imports it where it is installed"
    counting = {"PYTHONPROFILEIMPORTTIME": "1"}
    run = bench.submit("training.length=6 steps", "evaluation.at_start=false", env=counting)
    logs = "".join(log.read_text() for log in run.attempt(1).path.glob("*.log"))
    imported = {line.rpartition("|")[2].strip() for line in logs.splitlines() if line.startswith("import time:")}
    assert {"deepspeed", "runjob.runner.worker.train"} <= imported
    assert not [name for name in imported if name.startswith("mlflow.")]
