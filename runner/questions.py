"""What `runjob init` asks at a terminal: each thing that no option said, with the answer that Enter gives."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.prompt import Prompt

from runjob.runner.recipes import RECIPES, SIZES, find_recipe, names
from runjob.schemas.errors import JobError
from runjob.schemas.machine import detect_machine


def ask_missing(args: Namespace) -> None:
    """Fills in what is None. JobError where the answers end before the questions do."""
    console = Console()
    try:
        _ask_what(args, console)
        _ask_where(args, console)
    except EOFError:
        raise JobError("init: the input ended; nothing was written") from None


def _ask_what(args: Namespace, console: Console) -> None:
    if args.recipe is None:
        fitting = [one for one in RECIPES if args.objective is None or args.objective in one.objectives]
        for one in fitting:
            console.print(f"  {one.name:<10}  {one.summary} ({' or '.join(one.objectives)})", highlight=False)
        usual = find_recipe(None, args.objective or RECIPES[0].objectives[0])
        args.recipe = Prompt.ask("What shall it be?", console=console, choices=names(fitting), default=usual.name)
    recipe = find_recipe(args.recipe, args.objective)
    if args.data is None:
        asked = "Data (files, sample:NAME or hub:NAME; Enter: the recipe's sample)"
        args.data = Prompt.ask(asked, console=console, default="", show_default=False) or None
    if args.size is None:
        asked = "Size (small trains in minutes on a laptop, base as papers do)"
        args.size = Prompt.ask(asked, console=console, choices=list(SIZES), default=SIZES[0])
    if args.from_model is None and recipe.name != "modernbert":
        asked = "First weights (a model directory or a name on the Hub; Enter: as the recipe has them)"
        args.from_model = Prompt.ask(asked, console=console, default="", show_default=False) or None


def _ask_where(args: Namespace, console: Console) -> None:
    if args.device is None:
        here = "cuda" if detect_machine().gpus else "cpu"
        args.device = Prompt.ask("What computes?", console=console, choices=["cpu", "cuda", "mps"], default=here)
    if args.launcher is None:
        choices = ["local", "ssh", "slurm", "aws"]
        args.launcher = Prompt.ask("Where does it run?", console=console, choices=choices, default="local")
    while args.output is None or Path(args.output).exists():
        if args.output is not None:
            console.print(f"{args.output} is there already and stays as it is", highlight=False)
        args.output = Prompt.ask("Job file", console=console, default=f"{args.recipe}.yaml")
