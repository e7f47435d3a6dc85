"""A small real program in the place of a companion: `python companion_program.py WHAT RUN_DIR`. Each of its starts adds
its pid to RUN/companion-starts.txt."""

import json
import os
import sys
import time
from pathlib import Path

from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.run import RunDir, write_json

what, run = sys.argv[1], RunDir(Path(sys.argv[2]))
attempt = run.attempt(int(os.environ[ATTEMPT_VARIABLE]))
starts = run.path / "companion-starts.txt"
with starts.open("a") as file:
    file.write(f"{os.getpid()}\n")


def finish() -> None:
    while not attempt.ending.exists():
        time.sleep(0.02)
    write_json(run.path / "companion-end.json", json.loads(attempt.ending.read_text()))


match what:
    case "finish":
        finish()
    case "die-once":
        if len(starts.read_text().splitlines()) == 1:
            sys.exit(1)
        finish()
    case "deaf":
        time.sleep(600)
    case "stop":
        attempt.request_stop("preempt", note="spot interruption at noon")
