"""Weights & Biases with the real library, offline: the numbers of events.jsonl, once each, whatever is killed."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runjob.runner.worker.journal import Journal
from runjob.schemas.job import Tracking, Wandb
from runjob.schemas.run import RunDir, read_json, write_json
from tests.conftest import ROOT

OFFLINE = Wandb(project="tests", entity=None, mode="offline", name=None, tags=("one", "two"))
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path, "some")
    write_json(run.job, {"job": {"name": "some", "seed": 42}})
    return run


def in_a_process(run: RunDir, steps: range, *, from_step: int, end: str = "close") -> None:
    """An attempt that logs these steps, as a rank does: in a process of its own, ended by `close` or by SIGKILL."""
    program = f"""
import os, signal
from pathlib import Path
from runjob.runner.worker.journal import Journal
from runjob.schemas.job import Tracking, Wandb
from runjob.schemas.run import RunDir
run = RunDir(Path({str(run.path)!r}))
tracking = Tracking(tensorboard=False, wandb={OFFLINE!r}, mlflow=None, profile=None)
journal = Journal(run, run.new_attempt(), tracking=tracking, from_step={from_step})
for step in range({steps.start}, {steps.stop}):
    journal.log("train", step=step, loss=1 / step, batch="abc", tokens=8 * step)
    if step % 2 == 0:
        journal.log("eval", step=step, loss=2 / step, rare_token_perplexity=None)
if {end!r} == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if {end!r} == "samples":
    texts = [{{"prompt": "Een", "text": "twee <b>"}}, {{"prompt": "Drie", "problem": "too long"}}]
    journal.log("samples", step=2, texts=texts)
journal.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "WANDB_API_KEY": KEY}, capture_output=True, text=True
    )
    assert done.returncode == (-9 if end == "kill" else 0), done.stderr


def records_of(file: Path) -> Iterator[bytes]:
    """The records of one of the library's files: a log as LevelDB keeps it, in blocks of 32 KiB, after 7 bytes."""
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # no room for a header: the block is filled up
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or the last piece of one
            yield whole
            whole = b""


def sent(run: RunDir) -> tuple[list[dict[str, Any]], list[str]]:
    """What lies in the library's own files: rows of numbers, and the ids of the runs."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows, ids = [], []
    for file in sorted(run.wandb.glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for data in records_of(file):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.append(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                named = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                rows.append({name: json.loads(value) for name, value in named.items()})
    return rows, ids


def numbers(run: RunDir) -> dict[int, dict[str, float]]:
    """The same, as events.jsonl has it."""
    found: dict[int, dict[str, float]] = {}
    for record in run.read_events():
        if record["event"] in ("train", "eval"):
            fields = {key: value for key, value in record.items() if key in ("loss", "tokens")}
            found.setdefault(record["step"], {}).update({f"{record['event']}/{k}": v for k, v in fields.items()})
    return found


def test_the_numbers_of_the_events_once_each_under_one_id_after_a_resume(run: RunDir) -> None:
    in_a_process(run, range(1, 7), from_step=-1)
    # a second attempt from the checkpoint of step 4: its steps 5 and 6 are there already
    in_a_process(run, range(5, 10), from_step=4)
    rows, ids = sent(run)
    assert set(ids) == {run.id}
    own = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
    assert {row["_step"]: shown for row, shown in zip(rows, own, strict=True)} == numbers(run)
    assert [row["_step"] for row in rows] == list(range(1, 10))
    assert read_json(run.wandb_given) == {"train": 6, "eval": 6}


def test_a_kill_of_a_resumed_attempt_gives_nothing_twice(run: RunDir) -> None:
    in_a_process(run, range(1, 7), from_step=-1)
    in_a_process(run, range(3, 5), from_step=2, end="kill")
    in_a_process(run, range(3, 9), from_step=2)
    rows, _ = sent(run)
    assert [row["_step"] for row in rows if "train/loss" in row] == list(range(1, 9))


def test_what_the_finished_model_wrote_is_a_table_beside_the_newest_step(
    run: RunDir,
) -> None:
    in_a_process(run, range(1, 4), from_step=-1, end="samples")
    in_a_process(run, range(4, 6), from_step=3)
    rows, _ = sent(run)
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5]
    tables = {row["_step"]: (row["samples._type"], row["samples.nrows"]) for row in rows if "samples._type" in row}
    assert tables == {3: ("table-file", 2)}
    (file,) = run.wandb.glob("offline-run-*/files/media/table/samples_*.json")
    table = read_json(file)
    assert table["columns"] == ["prompt", "text"]
    assert table["data"] == [["Een", "twee <b>"], ["Drie", "(too long)"]]


def test_no_file_of_a_run_holds_the_key(run: RunDir) -> None:
    in_a_process(run, range(1, 3), from_step=-1)
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_what_fails_is_said_once_and_stops_nothing(run: RunDir) -> None:
    run.wandb.write_text("a file where the library wants its directory")
    journal = Journal(
        run,
        run.new_attempt(),
        tracking=Tracking(tensorboard=False, wandb=OFFLINE, mlflow=None, profile=None),
        from_step=-1,
    )
    for step in (1, 2, 3):
        journal.log("train", step=step, loss=1.0)
    journal.close()
    events = list(run.read_events())
    assert [event["event"] for event in events] == ["advice", "train", "train", "train"]
    assert events[0]["name"] == "tracking"
    assert events[0]["advice"].startswith("tracking.wandb: ")
    assert events[0]["advice"].endswith("; the run goes on without it")


SUBMIT = "import sys; from runjob.runner.cli import main; sys.exit(main())"


def without_wandb(folder: Path) -> str:
    """All that is installed, without W&B: a folder of links."""
    for path in map(Path, sys.path):
        if path.name == "site-packages":
            for entry in path.iterdir():
                if not entry.name.startswith("wandb") and not (folder / entry.name).exists():
                    (folder / entry.name).symlink_to(entry)
    return str(folder)


def test_a_missing_package_or_key_is_named_before_anything_starts(home, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    links = tmp_path / "links" / "runjob"
    links.mkdir(parents=True)
    for name in ("schemas", "launchers", "data", "runner"):
        (links / name).symlink_to(ROOT / name)
    job = [str(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"), "--set", "tracking.wandb={project: tests}"]
    bare = {**home.env, "PYTHONPATH": f"{links.parent}:{without_wandb(tmp_path / 'packages')}"}
    done = subprocess.run([sys.executable, "-S", "-c", SUBMIT, *job], env=bare, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "pip install 'runjob[wandb]'" in done.stderr

    nobody = {**home.env, "NETRC": str(tmp_path / "netrc")}
    done = subprocess.run([sys.executable, "-c", SUBMIT, *job], env=nobody, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "tracking.wandb.mode: online needs a key" in done.stderr
