"""Where the suite breaks things: a folder of its own with home, cache and environment, the installed `runjob` as a
process, and what is compared of two runs."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runjob.runner.runs import state_of
from runjob.schemas.manifest import damage, folders_in
from runjob.schemas.processes import descendants
from runjob.schemas.run import EXIT_CODES, RunDir, read_json

RUNJOB = Path(sys.executable).with_name("runjob")
# What may differ between a run and the same run killed and resumed
NOT_COMPARED = ("time", "attempt", "data_wait", "tokens_per_s", "samples_per_s", "memory")
ENDED = ("finished", "failed", "cancelled", "preempted", "lost")
# No trial here is longer; one that is hangs, and that is a finding.
PATIENCE_S = 240.0


class ChaosError(Exception):
    """The suite itself can't go on: an unbroken run that fails proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """`path` is the working directory; `extra` variables are those of one fault."""

    path: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def environment(self) -> dict[str, str]:
        """Idle threads sleep: half of the trials have more ranks than this machine may have cores to spare."""
        ours = {
            "RUNJOB_HOME": str(self.runs),
            "RUNJOB_CACHE": str(self.cache),
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "OMP_WAIT_POLICY": "passive",
        }
        return {**os.environ, **ours, **self.extra}

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        argv = [str(RUNJOB), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env=self.environment(), cwd=self.path, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def call(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """To its end, whatever that is; ChaosError of a command that comes to none."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ChaosError(f"{error.cmd[1:3]} goes on for more than {PATIENCE_S:.0f} s") from error
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def submit(self, job: Path, sets: Sequence[str], *options: str) -> RunDir:
        done = self.call(job, *options, *flags(sets))
        name = done.stdout.partition("\n")[0]
        if not name or (done.returncode and "--detach" in options):
            raise ChaosError(f"{job.name}: {done.stdout}{done.stderr}")
        return RunDir(self.runs / name)


def settle(run: RunDir) -> str:
    """Its state once it has ended; asked here, since a command that asks costs more than a step of these jobs."""
    deadline = time.monotonic() + PATIENCE_S
    while (state := state_of(run).state) not in ENDED:
        if time.monotonic() > deadline:
            raise ChaosError(f"{run.id} is still {state} after {PATIENCE_S:.0f} s")
        time.sleep(0.05)
    return state


def flags(sets: Sequence[str]) -> list[str]:
    return [word for one in sets for word in ("--set", one)]


def everything_of(run: RunDir) -> list[int]:
    """The supervisor of the newest handle and all below it, parents first."""
    supervisor: int = read_json(run.handle).get("pid", 0) if run.handle.exists() else 0
    return [supervisor, *(facts.pid for facts in descendants(supervisor))] if supervisor else []


def kill(pids: Sequence[int]) -> int:
    """SIGKILL to each; how many were still there."""
    hit = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            hit += 1
        except ProcessLookupError:
            continue
    return hit


def records(run: RunDir, *events: str) -> list[dict[str, Any]]:
    """Train and eval records without what may differ between two equal runs."""
    wanted = events or ("train", "eval")
    kept = [record for record in run.read_events() if record["event"] in wanted]
    return [{key: value for key, value in record.items() if key not in NOT_COMPARED} for record in kept]


def whole_steps(run: RunDir) -> list[int]:
    """Steps of the checkpoints that are complete, to the last byte."""
    return [step for step, folder in folders_in(run.checkpoints).items() if not list(damage(folder))]


def trace(run: RunDir) -> dict[str, Any]:
    """All that must be equal: records, exported weights, weights and moments of the last checkpoint."""
    last = run.checkpoints / run.latest.read_text(encoding="utf-8").strip()
    files = [run.model / "model.safetensors", *sorted(last.glob("*.safetensors"))]
    return {"records": records(run), **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}}


def is_outcome(code: int) -> bool:
    """One of the exit codes that runjob promises; a traceback or a signal is none."""
    return code in {*EXIT_CODES.values(), 0, 1, 2}
