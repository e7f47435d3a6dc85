"""A small real program in the place of the worker: `python stage_program.py WHAT RUN_DIR`.

It keeps to the worker's side of the protocol (polls stop.json, writes exit.json, progress.json, events.jsonl) and does
what its first argument says.
"""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from runjob.schemas.lifeline import ATTEMPT_VARIABLE, die_with_parent
from runjob.schemas.run import Exit, RunDir, write_json

die_with_parent()
what, run = sys.argv[1], RunDir(Path(sys.argv[2]))
attempt = run.attempt(int(os.environ[ATTEMPT_VARIABLE]))


def end(outcome: str, code: int, step: int, reason: str, error: str = "") -> None:
    attempt.write_exit(Exit(outcome=outcome, code=code, step=step, reason=reason, error=error))
    sys.exit(1 if code else 0)  # as torchrun does: every other code becomes 1


def record(step: int) -> None:
    now = {"time": time.time(), "attempt": attempt.number}
    with run.events.open("a") as events:
        events.write(
            json.dumps({"event": "train", "step": step, "loss": 4.0 / step, "tokens_per_s": 10.0, **now}) + "\n"
        )
    write_json(run.progress, {"step": step, "attempt": attempt.number})


def train(steps: int, pause_s: float) -> None:
    """Steps until the end or until asked to stop; goes on after the last step on record (a kill may fall between it and
    progress.json)."""
    first = max((record["step"] for record in run.read_events()), default=0)
    for step in range(first + 1, steps + 1):
        time.sleep(pause_s)
        record(step)
        if reason := attempt.stop_reason():
            end("cancelled" if reason == "cancel" else "preempted", 130 if reason == "cancel" else 75, step, "saved")
    end("finished", 0, steps, "all steps done")


def train_exactly(steps: int, *, forgetful: bool = False, killed: bool = False) -> None:
    """A run in small: each step's loss depends on all before it, a checkpoint every 5 steps, resume from the newest.
    `killed`: after the first checkpoint the supervisor is, and this with it."""
    saved = sorted(run.checkpoints.glob("step-*/state.json"))
    state = json.loads(saved[-1].read_text())["state"] if saved else {"step": 0, "weight": 1.0, "best": None}
    if forgetful and saved:
        state["weight"] += 1e-9
    every = json.loads(run.job.read_text())["job"]["training"]["checkpoint"]["every"]
    kept = (
        [line for line in run.events.read_text().splitlines() if json.loads(line)["step"] <= state["step"]]
        if saved
        else []
    )
    run.events.write_text("".join(f"{line}\n" for line in kept))
    for step in range(state["step"] + 1, steps + 1):
        time.sleep(0.03)
        state = {"step": step, "weight": state["weight"] * 0.9 + step, "best": None}
        common = {"step": step, "time": time.time(), "attempt": attempt.number, "loss": state["weight"]}
        lines = [{"event": "train", "batch": f"{step:016x}", "tokens_per_s": 1 / time.time(), **common}]
        lines += [{"event": "eval", **common}] if step % 10 == 0 else []
        with run.events.open("a") as events:
            events.write("".join(json.dumps(line) + "\n" for line in lines))
        write_json(run.progress, {"step": step, "steps": steps, "attempt": attempt.number})
        # as the worker does: at the interval, and always at the last step
        if step == steps or (step % 5 == 0 and every != "never"):
            save(state)
            if killed:
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
    run.model.mkdir(exist_ok=True)
    (run.model / "model.safetensors").write_text(repr(state["weight"]))
    end("finished", 0, steps, "all steps done")


def save(state: dict[str, object]) -> None:
    """A checkpoint as the worker's, in small."""
    folder = run.checkpoints / f".step-{state['step']:08d}.tmp"
    folder.mkdir(exist_ok=True)  # a kill may have fallen into the save before
    (folder / "weights-00001.safetensors").write_text(repr(state["weight"]))
    write_json(folder / "state.json", {"state": state})
    files = {
        path.name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    }
    manifest = {"format": 1, "step": state["step"], "files": files}
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    write_json(folder / "manifest.json", manifest | {"sha256": digest})
    folder.rename(run.checkpoints / f"step-{state['step']:08d}")
    run.latest.write_text(f"step-{state['step']:08d}\n")


def spawn_sleeper(*, tied: bool) -> None:
    """A grandchild in a session of its own, as torchrun starts its ranks; its pid goes to RUN/sleeper.pid."""
    program = "import time; time.sleep(600)"
    if tied:
        program = f"from runjob.schemas.lifeline import die_with_parent; die_with_parent(); {program}"
    sleeper = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    (run.path / "sleeper.pid").write_text(str(sleeper.pid))


match what:
    case "nothing":
        print("prepared")
    case "preparing":
        write_json(run.progress, {"step": 0, "stage": "prepare", "line": "tokenising  5 %", "updated": time.time()})
        while not attempt.stop_reason():
            time.sleep(0.05)
        end("cancelled", 130, 0, "asked to stop")
    case "finish":
        train(3, 0.01)
    case "exact":
        train_exactly(20)
    case "exact-killed":
        train_exactly(20, killed=True)
    case "forgetful":
        train_exactly(20, forgetful=True)
    case "a-while":
        train(300, 0.02)
    case "long":
        train(100_000, 0.02)
    case "long-with-child":
        spawn_sleeper(tied=True)
        time.sleep(0.5)  # the sleeper has set its parent-death signal by then
        train(100_000, 0.02)
    case "leave-a-child":
        spawn_sleeper(tied=False)
        end("finished", 0, 0, "left a child behind")
    case "fail":
        print("Traceback: the last words of the log")
        end("failed", 1, 2, "", "ValueError: the loss is NaN at step 2")
    case "pause":
        record(2)
        end("preempted", 75, 2, "stop_after")
    case "crash":
        sys.exit(3)
    case "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        record(1)
        time.sleep(600)
    case "rank":
        write_json(run.path / f"rank-{os.environ['RANK']}.pid", os.getpid())
        time.sleep(600)
    case "sleep":
        record(1)
        time.sleep(600)
    case "kill-me":
        os.kill(os.getpid(), signal.SIGKILL)
    case "environment":
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        write_json(run.path / "environment.json", {**os.environ, "open files": open_files})
        end("finished", 0, 0, "")
