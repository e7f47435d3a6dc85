"""`init ls samples schema`: what there is to begin from, before there is a job."""

import dataclasses
import shutil
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runjob.runner.command import Command, add_json
from runjob.runner.recipes import OBJECTIVES, RECIPES, SIZES, find_recipe
from runjob.runner.text import print_json

if TYPE_CHECKING:
    from runjob.runner.new_job import Wishes

BLOCKS = ("slurm", "ssh", "aws")
DEVICES = ("cpu", "cuda", "mps")


def run_init(args: Namespace) -> int:
    from runjob.runner.write_job import left_to_say, write_job

    if sys.stdin.isatty() and sys.stdout.isatty() and not args.yes:
        from runjob.runner.questions import ask_missing  # rich takes 50 ms, and only somebody who is asked needs it

        ask_missing(args)
    wishes = wishes_of(args)
    file = Path(args.output or f"{wishes.recipe.name}.yaml")
    resolved, of_schema = write_job(wishes, file)
    print(f"wrote {file}: {wishes.recipe.summary} ({wishes.recipe.name}, {wishes.size}), on {wishes.device}")
    for line in filter(None, [of_schema, *left_to_say(resolved, wishes)]):
        print(line)
    elsewhere = "" if wishes.launcher == "local" else f" --launcher {wishes.launcher}"
    print(f"next: runjob plan {file}{elsewhere}, then runjob {file}{elsewhere}")
    return 0


def wishes_of(args: Namespace) -> "Wishes":
    from runjob.runner.new_job import Wishes
    from runjob.schemas.errors import JobError

    if "" in (args.data, args.from_model):
        raise JobError("init: an empty path; leave the option out to begin as the recipe does")
    return Wishes(
        recipe=find_recipe(args.recipe, args.objective),
        size=args.size or "small",
        objective=args.objective,
        data=args.data,
        from_model=args.from_model,
        device=args.device or "cpu",
        launcher=args.launcher or "local",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """One row of `ls`: a job as it is, or a recipe, whose path is the job that it begins from."""

    kind: Literal["job", "recipe"]
    name: str
    path: str
    summary: str
    objectives: tuple[str, ...]
    needs: tuple[str, ...]
    minutes: float | None


def list_offers() -> list[Offer]:
    from runjob.runner.shipped import MINUTES, find_job, list_jobs, needs_of
    from runjob.schemas.read import read_job

    read = [(job, read_job(Path(job.path))) for job in list_jobs()]
    jobs = [
        Offer(
            kind="job",
            name=job.name,
            path=job.path,
            summary=job.summary,
            objectives=(resolved.job.objective.kind,),
            needs=needs_of(resolved),
            minutes=MINUTES.get(job.name),
        )
        for job, resolved in read
    ]
    recipes = [
        Offer(
            kind="recipe",
            name=recipe.name,
            path=str(find_job(recipe.small)),
            summary=recipe.summary,
            objectives=recipe.objectives,
            needs=(),
            minutes=MINUTES.get(recipe.small),
        )
        for recipe in RECIPES
    ]
    return jobs + recipes


def run_ls(args: Namespace) -> int:
    offers = list_offers()
    if args.json:
        print_json([dataclasses.asdict(offer) for offer in offers])
        return 0
    print("jobs that come with runjob (runjob FILE)")
    width = shutil.get_terminal_size().columns
    for job in (offer for offer in offers if offer.kind == "job"):
        print(from_here(Path(job.path)))
        said = f"{job.summary} {conditions(job.needs, job.minutes)}"
        print(textwrap.fill(said, width, initial_indent="    ", subsequent_indent="    "))
    print("\nrecipes for a job of your own (runjob init --recipe NAME)")
    for recipe in (offer for offer in offers if offer.kind == "recipe"):
        print(f"{recipe.name:<10}  {recipe.summary} ({' or '.join(recipe.objectives)})")
    return 0


def conditions(needs: tuple[str, ...], minutes: float | None) -> str:
    """What somebody wants to know who asks whether to try it."""
    if needs:
        return f"Needs {'; '.join(needs)}."
    took = "" if minutes is None else f"; about {minutes:g} minutes on two cores"
    return f"Needs nothing but this machine{took}."


def run_schema(args: Namespace) -> int:
    from runjob.schemas.extraction import extraction_schema_text
    from runjob.schemas.schema import bundle_text

    print(bundle_text() if args.of == "job" else extraction_schema_text(), end="")
    return 0


def run_samples(args: Namespace) -> int:
    from runjob.data.samples import list_samples
    from runjob.data.space import in_words

    rows = list_samples()
    if args.json:
        shown = [{**dataclasses.asdict(row), "path": str(row.path), "notice": str(row.notice)} for row in rows]
        print_json([{**one, "data": row.data} for one, row in zip(shown, rows, strict=True)])
        return 0
    for row in rows:
        print(f"sample:{row.name}  {in_words(row.size)}, {row.documents:,} documents, {row.license}")
        print(f"    {row.description}\n    data: {row.data}")
        if row.tokenizer is not None:
            print(f"    tokenizer: {{kind: pretrained, path: 'sample:{row.name}'}}, {row.tokenizer}")
        print(f"    notice: {row.notice}")
    return 0


def from_here(path: Path) -> Path:
    """As it can be typed here: short where it lies below the current directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def configure_init(parser: ArgumentParser) -> None:
    known = ", ".join(recipe.name for recipe in RECIPES)
    parser.add_argument("--recipe", metavar="RECIPE", help=f"what to begin from: {known}; `runjob ls` describes them")
    parser.add_argument("--objective", metavar="KIND", help=f"what it learns: {', '.join(OBJECTIVES)}")
    parser.add_argument("--size", choices=SIZES, help="small trains in minutes on a laptop, base as papers do")
    said = "text, .jsonl or .parquet files, an address, sample:NAME or hub:NAME (default: the recipe's sample)"
    parser.add_argument("--data", metavar="PATH", help=said)
    said = "first weights: a model directory or a name on the Hub (default: as the recipe has them)"
    parser.add_argument("--from-model", metavar="ID", help=said)
    parser.add_argument("--device", choices=DEVICES, help="what computes (default: cpu)")
    parser.add_argument("--launcher", choices=("local", *BLOCKS), help="with its block under hardware")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the job file, which must not exist (default: NAME.yaml)"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="ask nothing, at a terminal neither")


def nothing(parser: ArgumentParser) -> None:
    return


def configure_schema(parser: ArgumentParser) -> None:
    said = "what it is of: a job file, or a line that extract writes (default: job)"
    parser.add_argument("of", nargs="?", choices=("job", "extraction"), default="job", help=said)


COMMANDS = (
    Command(
        name="init",
        usage="[-o FILE]",
        summary="write a job file that explains itself",
        configure=configure_init,
        run=run_init,
        examples=(
            "runjob init",
            "runjob init --objective clm --data 'texts/*.txt' -o jobs/mine.yaml",
            "runjob init --recipe deberta --size base --device cuda --launcher slurm",
            "runjob init --objective mlm --from-model answerdotai/ModernBERT-base",
        ),
    ),
    Command(
        name="ls",
        usage="",
        summary="jobs and recipes that come with runjob",
        configure=add_json,
        run=run_ls,
        examples=("runjob ls", "runjob ls --json"),
    ),
    Command(
        name="samples",
        usage="",
        summary="corpora that come with runjob",
        configure=add_json,
        run=run_samples,
        examples=("runjob samples", "runjob samples --json"),
    ),
    Command(
        name="schema",
        usage="",
        summary="the JSON Schema of job files, or of extract's",
        configure=configure_schema,
        run=run_schema,
        examples=("runjob schema > runjob-job.v1.schema.json", "runjob schema extraction"),
    ),
)
