"""From the typed command to the first step of training, beside what any program of the kind has to wait for.

    python benchmarks/start.py [--rounds 5] [--set PATH=VALUE ...]

The floor is torchrun with one process that imports torch, transformers and deepspeed and builds the network of the tiny
GPT-2 by transformers alone, with the environment of the plan. Beside it, in turns: `runjob JOB.yaml` until the
record of step 1, its data prepared before, with and without the evaluation that comes before that step. The moments on
the way come from the times of the run's own files and records.

Beside the seconds of the clock stand those of the processor that all processes together have taken until the moment:
the stages run one after another, so on a quiet machine the two are nearly the same, and on one that others use too only
the latter mean something. Seconds hang on the machine, the ratio hardly does.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runjob.runner.compile import compile_job
from runjob.schemas.job_data import TrainedTokenizer
from runjob.schemas.job_model import ScratchGpt2
from runjob.schemas.lifeline import adopt_orphans
from runjob.schemas.machine import detect_machine
from runjob.schemas.plan import Plan
from runjob.schemas.processes import descendants
from runjob.schemas.read import read_job
from runjob.schemas.run import RunDir, list_runs

ROOT = Path(__file__).parent.parent
RUNJOB = str(Path(sys.executable).parent / "runjob")
NO_EVALUATION = "evaluation.at_start=false"
PROCESSOR = "of the processor, all processes"
# What any such program needs before it can begin: no data, no engine, no run directory, and nothing of ours
FLOOR = """\
import json, sys, time
import torch, transformers, deepspeed
from pathlib import Path
transformers.GPT2LMHeadModel(transformers.GPT2Config(**json.loads(sys.argv[1])))
Path(sys.argv[2]).write_text(repr(time.time()))
"""
JOB = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    args = parser.parse_args()
    adopt_orphans()  # the supervisor outlives the command that starts it, and its time counts
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), sets=args.sets)
        bench.prepare()
        rows: dict[str, list[dict[str, float]]] = {"floor": [], "first step": [], "without evaluation": []}
        for number in range(args.rounds + 1):
            found = {
                "floor": bench.floor(),
                "first step": bench.moments([]),
                "without evaluation": bench.moments([NO_EVALUATION]),
            }
            for title, moments in found.items():
                print(f"round {number}, {title}: " + ", ".join(f"{name} {s:.2f}" for name, s in moments.items()))
                rows[title] += [moments] if number or not args.rounds else []  # the first fills the file cache
        report(rows)


class Bench:
    """One home and one cache for all rounds."""

    def __init__(self, place: Path, *, sets: list[str]) -> None:
        self.home = place / "runs"
        self.sets = sets
        self.said = place / "floor.txt"
        self.program = place / "floor.py"
        self.program.write_text(FLOOR)
        self.env = {**os.environ, "RUNJOB_HOME": str(self.home), "RUNJOB_CACHE": str(place / "cache")}
        job = read_job(JOB, sets).job
        self.plan = compile_job(job, detect_machine())
        network = job.model.init
        assert isinstance(network, ScratchGpt2)
        assert isinstance(job.data.tokenizer, TrainedTokenizer)
        self.sizes = {
            "n_embd": network.hidden_size,
            "n_layer": network.num_hidden_layers,
            "n_head": network.num_attention_heads,
            "n_positions": network.max_position_embeddings,
            "vocab_size": job.data.tokenizer.vocab_size,
        }

    def prepare(self) -> None:
        sets = [word for one in self.sets for word in ("--set", one)]
        subprocess.run([RUNJOB, "prepare", str(JOB), *sets], env=self.env, check=True, stdout=subprocess.DEVNULL)

    def floor(self) -> dict[str, float]:
        argv = floor_argv(self.plan, self.program, json.dumps(self.sizes), str(self.said))
        environment = {**self.env, **self.plan.stages[-1].env, "PYTHONPATH": ""}
        self.said.unlink(missing_ok=True)
        began, before = time.time(), processor_s()
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used = watch(process, self.said.exists) - before
        assert process.returncode == 0, argv
        return {"first step": float(self.said.read_text()) - began, PROCESSOR: used}

    def moments(self, sets: list[str]) -> dict[str, float]:
        """Seconds from the typed command to each moment of a run that stops after its first step."""
        earlier = {run.id for run in list_runs(self.home)}
        words = [word for one in [*self.sets, *sets, "training.stop_after=1 steps"] for word in ("--set", one)]

        def stepped() -> bool:
            runs = [run for run in list_runs(self.home) if run.id not in earlier]
            return bool(runs) and any(runs[0].read_events("train"))

        began, before = time.time(), processor_s()
        process = subprocess.Popen([RUNJOB, str(JOB), *words], env=self.env, stdout=subprocess.DEVNULL)
        used = watch(process, stepped) - before
        assert process.returncode == 75, process.returncode
        (run,) = [one for one in list_runs(self.home) if one.id not in earlier]
        return {name: moment - began for name, moment in moments_of(run).items()} | {PROCESSOR: used}


def watch(process: "subprocess.Popen[bytes]", reached: Callable[[], bool]) -> float:
    """Wait for the end of a command and all that it started; the processor seconds of all when the moment came."""
    at_moment: float | None = None
    while process.poll() is None:
        if at_moment is None and reached():
            at_moment = processor_s()
        time.sleep(0.05)
    while descendants(os.getpid()):  # the supervisor writes its last words
        reap()
        time.sleep(0.05)
    return processor_s() if at_moment is None else at_moment


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def processor_s() -> float:
    """Of all processes below this one, those that have ended too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(sum(map(int, stat_fields(one.pid))) for one in descendants(os.getpid()))
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str]:
    """utime, stime, cutime and cstime of /proc/PID/stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text.rpartition(")")[2].split()[11:15]


def floor_argv(plan: Plan, program: Path, *words: str) -> list[str]:
    """torchrun as the plan starts it, with the program in the place of the worker."""
    argv = [sys.executable if word == "{python}" else word for word in plan.stages[-1].argv]
    options = [word for word in argv[: argv.index("runjob.runner.worker") - 1] if not word.startswith("--log-dir")]
    return [*options, str(program), *words]


def moments_of(run: RunDir) -> dict[str, float]:
    events: list[dict[str, Any]] = list(run.read_events())
    by_name = {f"{one['event']} {one['step']}": one["time"] for one in reversed(events)}
    return {
        "run directory and code": (run.code / "CODE.json").stat().st_mtime,
        "supervisor": run.handle.stat().st_mtime,
        "data found": run.data.stat().st_mtime,
        "torchrun starts the worker": max(path.stat().st_mtime for path in run.path.glob(".torchrun/*")),
        "parts assembled": by_name["start 0"],
        **({"evaluated": by_name["eval 0"]} if "eval 0" in by_name else {}),
        "first step": by_name["train 1"],
    }


def report(rows: dict[str, list[dict[str, float]]]) -> None:
    print("\n| median seconds from the start | least | most | over the floor |\n|---|---|---|---|")
    for title, rounds in rows.items():
        for name in rounds[0]:
            times = [one[name] for one in rounds]
            said = title if name == "first step" else f"{title}: {name}"
            cells = f"{statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f}"
            base = PROCESSOR if name == PROCESSOR else "first step"
            ratio = statistics.median(times) / statistics.median(one[base] for one in rows["floor"])
            print(f"| {said} | {cells} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
