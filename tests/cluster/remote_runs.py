"""Runs made by hand for the uploader: real files, checkpoints with real manifests, and the uploader as a process."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.manifest import folder_name, write_manifest
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import Attempt, RunDir, write_atomic, write_json
from tests.conftest import clean_environment
from tests.small_job import small_job


def make_run(home: Path, remote: str, *, keep: int | str = 2, id: str = "small-0a1b2c3d") -> RunDir:
    """A run of which nothing has been done yet."""
    run = RunDir(home / id)
    for folder in (run.attempts, run.checkpoints, run.code / "runjob"):
        folder.mkdir(parents=True)
    saving = f"checkpoint: {{every: 7 steps, keep: {keep}}}"
    run.job_yaml.write_text(small_job("sample:dutch", training=saving, more=f'output: {{remote: "{remote}"}}\n'))
    write_job_json(run.job, read_job(run.job_yaml))
    for path in (run.plan, run.deepspeed):
        write_json(path, {})
    (run.code / "runjob" / "one.py").write_text("one = 1\n")
    # sha256 over "one.py <sha256 of the file>\n", as snapshot.freeze writes it
    write_json(
        run.code / "CODE.json",
        {"sha256": "b6695ea443b5451f41032f8392f2f27d5dc9a5d0f1c669bae0cd5648f63b504c", "files": 1},
    )
    begin_attempt(run)
    return run


def begin_attempt(run: RunDir) -> Attempt:
    attempt = run.new_attempt()
    run.write_status("running", attempt=attempt.number, message="stage train")
    return attempt


def save(run: RunDir, step: int, *, content: str = "", best: int | None = None, weights: int = 3) -> None:
    """A checkpoint as the worker makes it, in small, and the events up to it."""
    beside = run.checkpoints / f".{folder_name(step)}.tmp"
    beside.mkdir()
    for number in range(1, weights + 1):
        (beside / f"weights-{number:05d}.safetensors").write_text(f"{content or step}/{number}\n" * 50)
    write_json(beside / "state.json", {"state": {"step": step, "best": None if best is None else {"step": best}}})
    write_manifest(beside, step)
    with run.events.open("a") as events:
        events.write(json.dumps({"event": "train", "step": step, "attempt": len(run.list_attempts())}) + "\n")
    beside.rename(run.checkpoints / folder_name(step))
    write_atomic(run.latest, folder_name(step) + "\n")


def end(run: RunDir, state: str = "finished", message: str = "all steps done") -> None:
    write_json(run.list_attempts()[-1].ending, {"state": state, "message": message, "time": 0.0})


def uploader(run: RunDir, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """As the supervisor starts it, with short pauses."""
    number = str(run.list_attempts()[-1].number)
    environment = {**clean_environment(), ATTEMPT_VARIABLE: number, "RUNJOB_TEST_WAITS": "0.1 0.1 0.1", **(env or {})}
    argv = [sys.executable, "-m", "runjob.runner.worker.upload", str(run.path)]
    log = run.list_attempts()[-1].stage_log("upload")
    with log.open("ab") as file:
        return subprocess.Popen(argv, env=environment, cwd=run.path, stdout=file, stderr=file)


def upload_all(run: RunDir, env: Mapping[str, str] | None = None, *, state: str = "finished") -> int:
    """The uploader's last round, to its end; its exit code."""
    end(run, state)
    process = uploader(run, env)
    try:
        return process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
