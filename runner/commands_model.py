"""`generate` and `fill-mask`: what a trained model is for. The work is the worker's; here it is started."""

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runjob.runner.command import Command, add_json
from runjob.schemas.errors import StateError
from runjob.schemas.plan import NO_TELEMETRY
from runjob.schemas.run import RunDir, find_run, home


def run_generate(args: Namespace) -> int:
    return run_worker("generate", [str(model_place(args.model)), *generate_arguments(args)])


def run_fill_mask(args: Namespace) -> int:
    return run_worker("fill_mask", [str(model_place(args.model)), *fill_arguments(args)])


def model_place(wanted: str) -> Path:
    """A directory that is there stands for itself; anything else is a job's id."""
    if Path(wanted).is_dir():
        return Path(wanted)
    run = find_run(home(), wanted)
    require_model(run)
    return run.path


def require_model(run: RunDir) -> None:
    if run.model.is_dir():
        return
    if run.status.exists() and run.read_status().state == "finished":
        require_fetched(run, "model")
    raise StateError(
        f"{run.id}: no model yet; it is written when the job finishes (`runjob status {run.id}`); "
        f"`runjob export {run.id} --step latest --to DIR` makes one of its newest checkpoint"
    )


def require_fetched(run: RunDir, what: str) -> None:
    """StateError for what a job made elsewhere and nobody has brought home yet."""
    from runjob.launchers.base import Fetcher
    from runjob.runner.runs import launcher_name, launcher_of

    if isinstance(launcher_of(run), Fetcher):
        place = launcher_name(run)
        raise StateError(f"{run.id}: no {what} here; `runjob fetch {run.id}` brings home what it made on {place}")


def generate_arguments(args: Namespace) -> list[str]:
    """The options as typed; what was left out is left to the job's `evaluation.generation`."""
    words = [joined("--prompt", prompt) for prompt in args.prompt]
    words += [joined("--complete", text) for text in args.complete]
    valued = {
        "--prompts-file": args.prompts_file,
        "--span": args.span,
        "--max-new-tokens": args.max_new_tokens,
        "--temperature": args.temperature,
        "--top-k": args.top_k,
        "--top-p": args.top_p,
        "--seed": args.seed,
        "--device": args.device,
    }
    words += [word for name, value in valued.items() if value is not None for word in (name, str(value))]
    flags = {"--interactive": args.interactive, "--benchmark": args.benchmark, "--json": args.json}
    words += [name for name, on in flags.items() if on]
    return words


def fill_arguments(args: Namespace) -> list[str]:
    words = [joined("--prompt", prompt) for prompt in args.prompt]
    valued = {"--prompts-file": args.prompts_file, "--top-k": args.top_k, "--device": args.device}
    words += [word for name, value in valued.items() if value is not None for word in (name, str(value))]
    flags = {"--interactive": args.interactive, "--benchmark": args.benchmark, "--json": args.json}
    return words + [name for name, on in flags.items() if on]


def joined(option: str, text: str) -> str:
    """One word, since a text may begin with a dash, and would by itself be read as an option."""
    return f"{option}={text}"


def run_worker(program: str, arguments: list[str]) -> int:
    """Its exit code is ours. Ctrl-C goes to both; the program ends the way it likes to, or with this one."""
    from runjob.schemas.lifeline import set_parent_death_signal

    command = [sys.executable, "-m", f"runjob.runner.worker.{program}", *arguments]
    process = subprocess.Popen(
        command,
        env={**os.environ, **NO_TELEMETRY},
        preexec_fn=set_parent_death_signal,  # safe: there is one thread here
    )
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def configure_generate(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="ID|DIR", help="a job's id or a model directory")
    parser.add_argument("--prompt", action="append", default=[], help="text to go on from (repeatable)")
    parser.add_argument("--prompts-file", metavar="FILE", help="one prompt a line")
    parser.add_argument("--interactive", action="store_true", help="ask for prompts until the input ends")
    parser.add_argument("--benchmark", action="store_true", help="tokens/s of prefill and of decoding")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to compute (default: cpu)")
    add_json(parser)
    parser.add_argument("--max-new-tokens", type=int, metavar="N")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token")
    parser.add_argument("--top-k", type=int, metavar="K")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--complete", action="append", default=[], metavar="TEXT", help="characters: go on from this")
    parser.add_argument("--span", type=int, metavar="N", help="characters: by so many (or write [MASK] for each)")


def configure_fill_mask(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="ID|DIR", help="a job's id or a model directory")
    parser.add_argument("--prompt", action="append", default=[], help="text with [MASK] in it (repeatable)")
    parser.add_argument("--prompts-file", metavar="FILE", help="one prompt a line")
    parser.add_argument("--interactive", action="store_true", help="ask for prompts until the input ends")
    parser.add_argument("--benchmark", action="store_true", help="tokens/s, beside transformers")
    parser.add_argument("--top-k", type=int, metavar="K", help="guesses for each gap (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to compute (default: cpu)")
    add_json(parser)


COMMANDS = (
    Command(
        name="generate",
        examples=(
            "runjob generate latest --prompt 'Kies een cel en' --temperature 0.8",
            "runjob generate model/ --interactive",
            "runjob generate gpt2_dutch@latest --prompts-file prompts.txt --json",
        ),
        usage="ID|DIR",
        summary="let the model write",
        configure=configure_generate,
        run=run_generate,
    ),
    Command(
        name="fill-mask",
        examples=(
            "runjob fill-mask latest --prompt 'limestone is a [MASK] rock'",
            "runjob fill-mask model/ --interactive --top-k 10",
        ),
        usage="ID|DIR",
        summary="let the model fill gaps",
        configure=configure_fill_mask,
        run=run_fill_mask,
    ),
)
