"""One job, run to its end with other values, as a user would type it."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runjob.schemas.run import RunDir, home


def train(job: Path, sets: Iterable[str]) -> RunDir:
    argv = [sys.executable, "-m", "runjob.runner", str(job), *(word for one in sets for word in ("--set", one))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return RunDir(home() / done.stdout.splitlines()[0])


def evaluations(run: RunDir) -> list[dict[str, Any]]:
    return [dict(event) for event in run.read_events() if event["event"] == "eval"]
