"""How long `plan` says that a job trains: by what runs of this home have measured, which real processes left, else by
what a GPU could do, else not at all, with what to type."""

import json
import os
import re
import shlex
import shutil
import statistics
import time
from pathlib import Path

import pytest

from runjob.launchers.accelerators import speeds
from runjob.runner.cli import main
from runjob.runner.pace import LOOKED, PLACES, UNFELT
from runjob.schemas.machine import processor_name
from runjob.schemas.schema import bundled_schema
from tests.conftest import ROOT
from tests.runner.recorded import KILLED, STRAIGHT, edit_events, edit_json, lay_out

JOB = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"
SAME = (
    "training.length=60 steps",
    "training.log_every=1 steps",
    "evaluation.every=10 steps",
    "hardware.threads=1",
    "data.sequence_length=64",
)


@pytest.fixture
def runs(home, monkeypatch) -> Path:
    """The recorded runs, as if this machine had made them."""
    for name in ("RUNJOB_HOME", "RUNJOB_CACHE", "XDG_CONFIG_HOME", "PATH"):
        monkeypatch.setenv(name, home.env[name])
    lay_out(home.runs)
    for age, name in ((200, KILLED), (100, STRAIGHT)):
        edit_events(home.runs / name, made_here)
        os.utime(home.runs / name, (time.time() - age,) * 2)
    return home.runs


def made_here(record: dict) -> None:
    if record["event"] == "start":
        record["device_name"] = record["processor"] = processor_name()


@pytest.fixture
def planned(runs, capsys):
    """`training_time` of `plan --json`; `plan` itself with `text=True`."""

    def ask(*sets: str, launcher: str = "local", text: bool = False):
        words = [word for one in (*SAME, *sets) for word in ("--set", one)]
        code = main(["plan", str(JOB), "--launcher", launcher, *words, *([] if text else ["--json"])])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out if text else json.loads(said.out)["training_time"]

    return ask


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def seconds_of(run: Path, *, attempt: int) -> list[float]:
    """Of its steps but the first, 8 sequences each."""
    trained = [one for one in records(run) if one["event"] == "train" and one["attempt"] == attempt]
    return [8 / one["samples_per_s"] for one in trained[1:]]


def evaluation_of(run: Path, *, attempt: int) -> float:
    own = [one for one in records(run) if one["attempt"] == attempt]
    trained = {one["step"]: one["time"] for one in own if one["event"] == "train"}
    evaluated = [one for one in own if one["event"] == "eval" and one["step"] in trained]
    return statistics.median(one["time"] - trained[one["step"]] for one in evaluated)


def test_a_job_like_a_run_takes_its_median_step_times_its_steps_and_its_evaluations(planned, runs) -> None:
    step, evaluation = (
        statistics.median(seconds_of(runs / STRAIGHT, attempt=1)),
        evaluation_of(runs / STRAIGHT, attempt=1),
    )
    said = planned("training.length=100000 steps", "evaluation.every=1000 steps")
    assert (said["source"], said["run"], said["steps"]) == ("measured", STRAIGHT, 100_000)
    assert (said["seconds_per_step"], said["seconds_per_evaluation"]) == (step, pytest.approx(evaluation))
    assert said["evaluations"] == 101  # the first before any training
    assert said["seconds"] == pytest.approx(100_000 * step + 101 * evaluation)
    hours = f"{said['seconds'] / 3600:.2g}"
    text = planned("training.length=100000 steps", "evaluation.every=1000 steps", text=True)
    assert (
        f"time           about {hours} h: 100,000 steps of {step:.3g} s, the median of 59 of {STRAIGHT} (1 rank(s) x 1 "
        f"thread(s), {processor_name()}), and 101 evaluation(s) of {evaluation:.3g} s\n"
        f"cost           about {hours} core hours (1 core(s)); their price is not known here\n"
    ) in text


def test_of_a_run_that_was_resumed_the_newest_attempt_counts(planned, runs) -> None:
    shutil.rmtree(runs / STRAIGHT)
    said = planned()
    assert said["run"] == KILLED
    assert said["seconds_per_step"] == statistics.median(seconds_of(runs / KILLED, attempt=3))
    (runs / KILLED / "attempts" / "4").mkdir()  # begun, and job.json may say other things since
    assert planned()["source"] == "unknown"


@pytest.mark.parametrize(
    "other",
    [
        "training.micro_batch=4",
        "training.global_batch=16",
        "training.precision=bf16",
        "training.gradient_checkpointing=true",
        "training.kernels=torch",
        "data.sequence_length=32",
        "data.tokenizer.vocab_size=2048",
        "model.init.num_hidden_layers=1",
        "hardware.threads=2",
        "hardware.zero=1",
        "model.init.dropout=0.1",
    ],
)
def test_what_is_felt_in_a_step_must_be_the_same(planned, other: str) -> None:
    said = planned(other)
    assert (said["source"], said["seconds"], said["run"]) == ("unknown", None, None)


@pytest.mark.parametrize(
    "other",
    [
        "name=another",
        "seed=1",
        "training.learning_rate=1e-5",
        "training.schedule.warmup=2 steps",
        "training.optimizer.weight_decay=0.2",
        "training.checkpoint.every=7 steps",
        "tracking.tensorboard=false",
        "output.license=mit",
        "hardware.memory=100GB",
    ],
)
def test_what_no_step_feels_may_differ(planned, other: str) -> None:
    assert planned(other)["run"] == STRAIGHT


def test_every_path_that_may_differ_is_one_of_the_schema() -> None:
    """A field that is renamed would else be felt again without a word."""
    text = json.dumps(bundled_schema())
    for path in [*UNFELT, *(f"{block}.{name}" for block, names in PLACES.items() for name in names)]:
        assert all(f'"{part}": {{' in text for part in path.split(".")), path


def test_a_run_of_another_machine_or_of_fewer_steps_says_nothing(planned, runs) -> None:
    def elsewhere(record: dict) -> None:
        if record["event"] == "start":
            record["device_name"] = "another processor"

    for name in (KILLED, STRAIGHT):
        edit_events(runs / name, elsewhere)
    assert planned()["source"] == "unknown"
    for name in (KILLED, STRAIGHT):
        edit_events(runs / name, made_here)
    assert planned()["source"] == "measured"
    few = [one for one in records(runs / STRAIGHT) if one["event"] != "train" or one["step"] <= 5]
    (runs / STRAIGHT / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in few), encoding="utf-8")
    assert planned()["run"] == KILLED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("job.json", content) for content in (b"", b"[]", b'{"job": {}, "origins": {}}')),
        *(("events.jsonl", content) for content in (b"", b'{"event": "start"', b'{"event": "start"}\n')),
        ("handle.json", b"{"),
    ],
)
def test_damaged_runs_are_passed_over(planned, runs, name: str, content: bytes) -> None:
    (runs / STRAIGHT / name).write_bytes(content)
    assert planned()["run"] == KILLED


def test_a_run_from_before_a_field_was_there_had_its_default(planned, runs) -> None:
    def forget(raw: dict) -> None:
        del raw["job"]["training"]["kernels"]

    edit_json(runs / STRAIGHT / "job.json", forget)
    assert planned()["run"] == STRAIGHT
    assert planned("training.kernels=torch")["source"] == "unknown"


def test_evaluations_that_are_not_those_of_the_run_are_not_counted(planned, runs) -> None:
    said = planned("data.split.validation=0.1")
    assert (said["evaluations"], said["seconds"]) == (None, 60 * said["seconds_per_step"])
    assert said["how"].endswith("; how long its evaluations take is not known")


def test_until_the_rows_are_counted_a_job_in_epochs_has_the_time_of_a_step_alone(planned) -> None:
    said = planned("training.length=2 epochs")
    assert (said["source"], said["seconds"], said["run"]) == ("unknown", None, STRAIGHT)
    assert said["how"].endswith("and how many there are is not known")


def test_a_pause_ends_the_time_and_an_early_stop_makes_it_the_most(planned) -> None:
    paused = planned("training.stop_after=35 steps")
    assert (paused["steps"], paused["evaluations"]) == (35, 4)
    stopping = planned("evaluation.early_stopping={metric: loss, patience: 10 steps, min_delta: 0.0}", text=True)
    assert "\ntime           at most about 1 min: " in stopping


def test_what_is_not_known_says_what_to_type_and_that_is_a_job(planned, runs, capsys) -> None:
    shutil.rmtree(runs / STRAIGHT)
    shutil.rmtree(runs / KILLED)
    typed = "`runjob FILE --set 'training.stop_after=20 steps' --set 'training.log_every=1 steps'` measures it"
    how = planned("training.log_every=20 steps")["how"]
    assert how == f"no run in this home has measured it, and of device cpu there is no figure; {typed}"
    words = shlex.split(re.findall("`runjob (.*)`", how)[0])
    assert main(["validate", str(JOB), *words[1:]]) == 0
    assert capsys.readouterr().out == f"{JOB}: valid\n"
    assert planned("training.log_every=1 steps")["how"].endswith(
        "; `runjob FILE --set 'training.stop_after=20 steps'` measures it"
    )


def test_of_slurm_a_run_there_counts_and_a_limit_that_is_too_short_is_said(planned, runs) -> None:
    block = "hardware.slurm={partition: long, signal_before: 300}"
    limited = (block, "hardware.time=1:00:00", "training.length=1M steps")
    assert "slurm is not asked what it has" in planned(block, launcher="slurm")["how"]
    edit_json(runs / STRAIGHT / "handle.json", lambda raw: (raw.clear(), raw.update(launcher="slurm", attempt=1)))
    assert planned(block, launcher="slurm")["source"] == "unknown"  # that run went to no partition
    slurm = {"partition": "long", "constraint": None, "gres": None, "cpus": None, "container_image": None}
    edit_json(runs / STRAIGHT / "job.json", lambda raw: raw["job"]["hardware"].update(slurm=slurm))
    said = planned(*limited, launcher="slurm")
    assert said["run"] == STRAIGHT
    pieces = -(-said["seconds"] // (3600 - 300))
    assert said["careful"].startswith("hardware.time: 1:00:00, and training takes about ")
    assert said["careful"].endswith(
        f": 300 s before each limit it is saved, requeued and waits again, {pieces - 1:.0f} time(s)"
    )
    assert f"careful        {said['careful']}\n" in planned(*limited, launcher="slurm", text=True)
    assert planned(*limited, "hardware.time=9-00:00:00", launcher="slurm")["careful"] is None
    assert planned("hardware.slurm={partition: short}", launcher="slurm")["run"] is None
    assert planned()["run"] == KILLED


def test_of_a_known_gpu_here_nobody_has_measured_the_share_of_its_peak_is_assumed(planned, home, monkeypatch) -> None:
    gpus(home.path / "bin", "NVIDIA A100-SXM4-80GB", monkeypatch)
    known = planned("hardware={device: cuda, gpus: 2}", "training.precision=bf16")
    assert known["source"] == "unknown"  # the table has it by another name, and nobody guesses
    name = "NVIDIA A10G"
    gpus(home.path / "bin", name, monkeypatch)
    said = planned("hardware={device: cuda, gpus: 2}", "training.precision=bf16")
    peak = speeds().gpus[name].peak("bf16")
    assert said["source"] == "estimated"
    assert f"s, 30% (assumed) of 2 x {name}, {peak:g} TFLOP/s each in bf16 (table of " in said["how"]
    assert said["cost"].endswith("GPU hours (2 GPU(s)); their price is not known here")
    assert said["seconds"] == pytest.approx(60 * said["seconds_per_step"])


def gpus(folder: Path, name: str, monkeypatch) -> None:
    """An nvidia-smi that lists two."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{name}'\necho '{name}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_of_thousands_of_runs_those_of_its_name_are_read_first_and_the_newest_of_them(planned, runs) -> None:
    for number in range(2 * LOOKED):  # cells that wait, submissions that failed: there is nothing in them
        (runs / f"another-{number:08x}").mkdir()
    assert planned()["run"] == STRAIGHT
    assert planned("name=another")["run"] == STRAIGHT
    for number in range(LOOKED):
        (runs / f"another-{number:08x}" / "events.jsonl").touch()
    assert planned()["run"] == STRAIGHT
    assert planned("name=another")["run"] is None
    for number in range(LOOKED):
        (runs / f"gpt2_dutch_tiny-{number:08x}").mkdir()
        (runs / f"gpt2_dutch_tiny-{number:08x}" / "events.jsonl").touch()
    assert planned()["run"] is None


@pytest.mark.parametrize("field", ["kernels", "threads", "device_name", "attention"])
def test_a_run_from_before_a_word_was_in_its_records_is_passed_over(planned, runs, field: str) -> None:
    edit_events(runs / STRAIGHT, lambda record: record.pop(field, None))
    assert planned()["run"] in (KILLED, STRAIGHT)


@pytest.mark.parametrize("rate", [0, None, float("nan"), 1e-320, "fast"])
def test_a_rate_that_is_none_says_nothing(planned, runs, rate: object) -> None:
    edit_events(runs / STRAIGHT, lambda record: record.update(samples_per_s=rate) if record["step"] == 30 else None)
    assert planned()["run"] == KILLED


def test_a_home_that_nobody_may_read_has_measured_nothing(planned, runs) -> None:
    edit_json(runs / STRAIGHT / "job.json", lambda raw: raw.update(job=None))
    (runs / KILLED / "job.json").write_text("[" * 3000 + "]" * 3000, encoding="utf-8")
    assert planned()["source"] == "unknown"


def test_there_is_no_more_than_one_evaluation_a_step(planned) -> None:
    assert planned("evaluation.every=1 tokens")["evaluations"] == 61


def test_a_job_too_short_to_pause_is_measured_as_a_whole(planned, runs) -> None:
    shutil.rmtree(runs)
    said = planned("training.length=10 steps", "training.log_every=20 steps", "training.schedule.warmup=1 steps")
    assert said["how"].endswith("; `runjob FILE --set 'training.log_every=1 steps'` measures it")


def test_cells_of_a_matrix_have_a_column_of_it_once_one_is_known(planned, runs) -> None:
    matrix = "matrix.training.micro_batch=[4, 8]"
    table = planned(matrix, text=True).splitlines()
    assert table[0].endswith("TOKENS  TIME")
    assert [line.split("  ")[-1].strip() for line in table[1:3]] == ["unknown", "about 1 min"]
    assert "TIME" not in planned("matrix.training.micro_batch=[2, 4]", text=True)
