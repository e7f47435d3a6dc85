"""What `generate` and `fill-mask` are asked: which model, and about which texts."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from runjob.runner.worker.export import WEIGHTS
from runjob.schemas.errors import JobError, NotFoundError, RunjobError, StateError
from runjob.schemas.job import Generation
from runjob.schemas.job_json import read_job_json
from runjob.schemas.run import RunDir, write_atomic

# Settings for a directory that no job of ours belongs to; those of the job schema's own defaults.
PLAIN = Generation(max_new_tokens=60, temperature=0.9, top_k=50, top_p=0.95)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked to write: a model directory, and the run, prompts and settings of its job if it has one."""

    model: Path
    run: RunDir | None
    prompts: tuple[str, ...]
    generation: Generation
    seed: int


def find_target(path: Path) -> Target:
    """A run directory or a model directory, told apart by what lies in them."""
    run = RunDir(path)
    if run.job.exists():
        if not (run.model / WEIGHTS).exists():
            raise StateError(
                f"{run.id}: has no model/ yet; it is written when the job ends "
                f"(`runjob status {run.id}` shows how far it is)"
            )
        job = read_job_json(run.job).job
        return Target(
            model=run.model,
            run=run,
            prompts=job.evaluation.prompts,
            generation=job.evaluation.generation,
            seed=job.seed,
        )
    if (path / "config.json").exists():
        return Target(model=path, run=None, prompts=(), generation=PLAIN, seed=0)
    raise NotFoundError(f"{path}: neither a run directory (no job.json) nor a model directory (no config.json)")


def read_prompts(options: argparse.Namespace, target: Target, *, needed: bool, example: str) -> tuple[str, ...]:
    """--prompt and --prompts-file in that order, else the job's own; JobError where there are none and some needed."""
    typed = tuple(options.prompt)
    if options.prompts_file is not None:
        try:
            lines = options.prompts_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(f"--prompts-file {options.prompts_file}: can't be read: {error}") from error
        typed += tuple(line for line in lines if line.strip())
    prompts = typed or target.prompts
    if needed and not prompts:
        raise JobError(f"{target.model}: no prompt, and none in evaluation.prompts of a job; try --prompt {example!r}")
    return prompts


def keep_samples(target: Target, found: Sequence[tuple[str, str]]) -> None:
    """What a run's model made of its job's own prompts, all of them, stays with the run: `runjob report` shows it."""
    if target.run is None or not found or tuple(prompt for prompt, _ in found) != target.prompts:
        return
    lines = (json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False) + "\n" for prompt, text in found)
    try:
        write_atomic(target.run.samples, "".join(lines))
    except OSError as error:  # somebody else's run may be read and not written
        print(f"runjob: {target.run.samples} can't be written: {error.strerror}", file=sys.stderr)


def converse(answer: Callable[[str], object]) -> None:
    """A line in, an answer out, until the end of the input; a wrong line is told so and the next one awaited."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        try:
            answer(line.rstrip("\n"))
        except JobError as error:
            print(f"runjob: {error}", file=sys.stderr)


def answer(work: Callable[[], None]) -> int:
    """The exit code of one of the two programs; what a user caused is one line."""
    disable_progress_bar()  # transformers' bar for reading 28 tensors would stand in the text
    try:
        work()
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def add_questions(parser: argparse.ArgumentParser, *, prompt: str) -> None:
    """What both are asked: the model, the texts, where to compute, and how to say it."""
    parser.add_argument("target", type=Path, help="a run directory or a model directory")
    parser.add_argument("--prompt", action="append", default=[], help=f"{prompt}; may be repeated")
    parser.add_argument("--prompts-file", type=Path, help="a file with a prompt a line")
    parser.add_argument("--interactive", action="store_true", help="read prompts from the terminal, a line each")
    parser.add_argument(
        "--benchmark", action="store_true", help="measure tokens per second instead, beside transformers"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")
