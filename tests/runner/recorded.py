"""Two runs of the tiny GPT-2, 60 steps each, as real processes left them in tests/cases/recorded, without checkpoints
and logs; paths, host and boot id are replaced. One stopped at step 25, was resumed, was killed with SIGKILL at step 50,
and was resumed from step 40; the other, with a third of the learning rate, ran straight."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent.parent / "cases" / "recorded"
KILLED = "gpt2_dutch_tiny-f9214c05"
STRAIGHT = "gpt2_dutch_tiny-d660eafb"


def lay_out(runs: Path) -> None:
    """Copies of both under a RUNJOB_HOME, the killed one the older: git keeps no times."""
    for age, name in ((200, KILLED), (100, STRAIGHT)):
        shutil.copytree(RECORDED / name, runs / name)
        made = runs / name / "job.yaml"
        os.utime(made, (made.stat().st_mtime - age,) * 2)


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_events(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """`change` gets every record."""
    records = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        change(record)
    (run / "events.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


# It would show itself: as an alert, as an image that is asked for, as a global name
HOSTILE = "</script><script>window.hacked = 1; alert(1)</script><img src=x onerror='window.hacked = 1'>"


def make_hostile(run: Path) -> None:
    """Wherever a user, a model or a log may have written something, it is written in HTML."""

    def everywhere(value: dict[str, Any]) -> None:
        value["job"]["output"]["description"] = HOSTILE
        value["job"]["evaluation"]["prompts"] = [HOSTILE]
        value["origins"]["output.description"] = HOSTILE

    edit_json(run / "job.json", everywhere)
    edit_json(run / "status.json", lambda value: value.update(state="failed", message=HOSTILE))
    edit_json(run / "attempts" / "3" / "exit.json", lambda value: value.update(outcome="failed", error=HOSTILE))
    (run / "attempts" / "3" / "rank-0.log").write_text(HOSTILE, encoding="utf-8")
    (run / "samples.jsonl").write_text(json.dumps({"prompt": HOSTILE, "text": HOSTILE}) + "\n", encoding="utf-8")
    edit_events(run, lambda record: record.update(advice=HOSTILE) if record["event"] == "advice" else None)
    edit_events(run, lambda record: record.update({HOSTILE: 1.0}) if record["event"] == "eval" else None)
    edit_events(run, lambda record: record.update(processor=HOSTILE) if record["event"] == "start" else None)
