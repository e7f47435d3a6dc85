"""MLflow with the real library and a store of files: the numbers of events.jsonl, once each, whatever is killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runjob.runner.needs import missing_needs
from runjob.runner.worker.journal import Journal
from runjob.schemas.job import Mlflow, Tracking
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job
from runjob.schemas.run import RunDir, write_json
from tests.conftest import ROOT

# The store of files is the one that needs no server; the library wants to hear that it is meant.
ALLOWED = {"MLFLOW_ALLOW_FILE_STORE": "true"}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path, "some")
    write_json(run.job, {"job": {"name": "some", "seed": 42, "model": {"dropout": 0.5}}})
    return run


def in_a_process(run: RunDir, *attempts: tuple[range, int], end: str = "close") -> None:
    """Attempts, each of these steps and from a step, in a process of their own as a rank is; the last is ended by
    `close`, by `finish` or by SIGKILL with some numbers unsent."""
    program = f"""
import os, signal
from pathlib import Path
from runjob.runner.worker.journal import Journal
from runjob.schemas.job import Mlflow, Tracking
from runjob.schemas.run import RunDir
run = RunDir(Path({str(run.path)!r}))
settings = Mlflow(uri={f"file:{run.path}/mlruns"!r}, experiment="tests", name=None)
tracking = Tracking(tensorboard=False, wandb=None, mlflow=settings, profile=None)
for steps, from_step in {attempts!r}:
    journal = Journal(run, run.new_attempt(), tracking=tracking, from_step=from_step)
    for step in steps:
        journal.log("train", step=step, loss=1 / step, batch="abc", tokens=8 * step)
        if step % 2 == 0:
            journal.log("eval", step=step, **{{"loss": 2 / step, "loss/a{{b}}.txt": 3.0, "rare": None}})
    if {end!r} == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if {end!r} == "finish":
        texts = [{{"prompt": "Een", "text": "twee <b>"}}, {{"prompt": "Drie", "problem": "too long"}}]
        journal.log("samples", step=2, texts=texts)
        journal.log("finish", step=step)
    journal.close()
"""
    env = {**os.environ, **ALLOWED}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (-9 if end == "kill" else 0), done.stderr


def the_run(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The library's client and the one run that it knows."""
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=f"file:{run.path}/mlruns")
    (found,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    return client, found


def test_the_numbers_of_the_events_once_each_in_one_run_whatever_was_killed(run: RunDir, monkeypatch) -> None:
    """Killed after step 6 with nothing sent yet, gone on with from step 4 and ended, gone on with once more from 8."""
    in_a_process(run, (range(1, 7), -1), end="kill")
    in_a_process(run, (range(5, 10), 4), (range(9, 13), 8), end="finish")
    client, found = the_run(run, monkeypatch)
    assert (found.data.tags["runjob.id"], found.info.run_name, found.info.status) == (run.id, run.id, "FINISHED")
    assert found.data.params == {"name": "some", "seed": "42", "model.dropout": "0.5"}
    train = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in train] == [(step, 1 / step) for step in range(1, 13)]
    for name in ("eval/loss", "eval/loss_a_b_.txt"):
        history = client.get_metric_history(found.info.run_id, name)
        assert [metric.step for metric in history] == [2, 4, 6, 8, 10, 12]
    written = {record["step"]: record["time"] for record in run.read_events("train")}
    assert [metric.timestamp for metric in train][:4] == [int(written[step] * 1000) for step in range(1, 5)]


def test_what_the_finished_model_wrote_is_an_artifact_of_the_run(run: RunDir, monkeypatch) -> None:
    in_a_process(run, (range(1, 4), -1), end="finish")
    client, found = the_run(run, monkeypatch)
    text = Path(client.download_artifacts(found.info.run_id, "samples.md")).read_text(encoding="utf-8")
    assert text == "## Een\n\ntwee <b>\n\n## Drie\n\n(too long)\n"


def test_what_fails_is_said_once_and_stops_nothing(run: RunDir) -> None:
    settings = Mlflow(uri="nonsense://host", experiment="tests", name=None)
    tracking = Tracking(tensorboard=False, wandb=None, mlflow=settings, profile=None)
    journal = Journal(run, run.new_attempt(), tracking=tracking, from_step=-1)
    for step in (1, 2, 3):
        journal.log("train", step=step, loss=1.0)
    journal.close()
    events = list(run.read_events())
    assert [event["event"] for event in events] == ["advice", "train", "train", "train"]
    assert events[0]["advice"].startswith("tracking.mlflow: ")
    assert events[0]["advice"].endswith("; the run goes on without it")


def test_a_missing_package_is_named_before_anything_starts(home) -> None:
    settings = "tracking.mlflow={uri: 'http://127.0.0.1:9', experiment: dutch}"
    file = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"
    job = read_job(file, [settings]).job
    assert missing_needs(job, Machine(cores=2, gpus=(), processor="some"), ask_hub=False) == ()
    bare = "import sys; sys.modules['mlflow'] = None; from runjob.runner.cli import main; sys.exit(main())"
    argv = [sys.executable, "-c", bare, "plan", str(file), "--set", settings]
    done = subprocess.run(argv, env=home.env, capture_output=True, text=True, check=False)
    assert "pip install 'runjob[mlflow]'" in done.stdout, done.stderr
