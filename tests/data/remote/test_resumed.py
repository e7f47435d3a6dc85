"""A run that is resumed prepares what it began with, whatever the server has by then."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, read_json
from tests.conftest import ROOT

SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"


def prepare(run: RunDir, cache: Path) -> "subprocess.CompletedProcess[str]":
    run.new_attempt()
    command = (sys.executable, "-m", "runjob.runner.worker.prepare", run.path)
    env = {**os.environ, "RUNJOB_CACHE": str(cache)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_the_next_attempt_uses_the_version_of_the_first(server, tmp_path: Path, words: Path):
    there, cache = server.folder / "a.txt", tmp_path / "cache"
    there.write_bytes(words.read_bytes() + b"caf\xe9\n")
    run = RunDir.create(tmp_path / "runs", "resumed")
    write_job_json(run.job, read_job(SMALLEST, [f"data.path={server.url}/a.txt", "data.bad_rows=0.1"]))
    first = prepare(run, cache)
    assert first.returncode == 0, first.stderr
    assert f"fetching  {server.url}/a.txt" in first.stdout
    assert "left out: 1 that can't be read\n" in first.stdout
    assert f"  {server.url}/a.txt:201: is not UTF-8 (byte 0xe9 at place 4" in first.stdout
    store = read_json(run.data)["store"]
    there.write_bytes(words.read_bytes()[:3000])

    second = prepare(run, cache)
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-2].startswith("found: ")
    assert read_json(run.data)["store"] == store

    shutil.rmtree(cache / "downloads")
    third = prepare(run, cache)
    assert third.returncode == 1
    assert f"{server.url}/a.txt is not what this run began with" in third.stderr
    assert json.loads((run.attempts / "3" / "exit.json").read_text())["error"] is not None
