"""`tokenizer build`, `extend`, `check` and `normalize`: tokenizers outside of a job. The work is the worker's."""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from runjob.runner.command import Command, add_json, add_sets
from runjob.runner.commands_model import run_worker
from runjob.schemas.errors import JobError, MissingError, NotFoundError
from runjob.schemas.run import RunDir, find_run, home


def run_build(args: Namespace) -> int:
    if bool(args.corpus) == bool(args.job):
        raise JobError("tokenizer build: name files to learn from, or a job with --job, and not both")
    if args.corpus and (args.algorithm is None or args.vocab_size is None):
        raise JobError("tokenizer build: write --algorithm bpe, wordpiece or unigram, and --vocab-size 16384")
    if args.job and (args.algorithm or args.vocab_size or args.lowercase):
        raise JobError("tokenizer build: with --job the job says how; write --set data.tokenizer.vocab_size=16384")
    if args.lowercase and args.algorithm == "bpe":
        raise JobError("tokenizer build: --lowercase is for wordpiece and unigram; bpe keeps every text as it is")
    return work("build", args)


def run_extend(args: Namespace) -> int:
    if not args.terms:
        raise JobError("tokenizer extend: name term files, each with its category: --terms taxa=taxa.txt")
    return work("extend", args, base=place(args.base))


def run_check(args: Namespace) -> int:
    base = None if args.base is None else place(args.base)
    return work("check", args, tokenizer=place(args.tokenizer), base=base)


def run_normalize(args: Namespace) -> int:
    return work("normalize", args)


def work(action: str, args: Namespace, **places: str | None) -> int:
    arguments: dict[str, Any] = {**vars(args), **places}
    if "terms" in arguments:
        arguments["terms"] = by_category(args.terms)
    return run_worker("tokenizer", [action, json.dumps(arguments)])


def by_category(terms: list[tuple[str, str]]) -> dict[str, str]:
    twice = [name for number, (name, _) in enumerate(terms) if name in dict(terms[:number])]
    if twice:
        raise JobError(f"--terms {twice[0]}=...: this category is named twice; put its terms into one file")
    return dict(terms)


def place(name: str) -> str:
    """Where a tokenizer lies: a directory, what a job trains with (by its directory or id), or a name on the Hub."""
    if (Path(name) / "job.json").is_file():
        return tokenizer_of(RunDir(Path(name)))
    if Path(name).is_dir() or name.startswith("sample:"):
        return name
    if name.startswith((".", "/", "~")) or Path(name).exists():
        what = "is a file; name the directory around it" if Path(name).is_file() else "no such directory"
        raise MissingError(f"{name}: {what} (one with tokenizer.json, a job's id, or a name on the Hub)")
    try:
        return tokenizer_of(find_run(home(), name))
    except NotFoundError:
        return name


def tokenizer_of(run: RunDir) -> str:
    if not run.data.is_file():
        raise MissingError(f"{run.id}: has no tokenizer yet; its data were never prepared (runjob prepare)")
    return str(Path(run.read_data()["store"]) / "tokenizer")


def term_file(text: str) -> tuple[str, str]:
    category, equals, file = text.partition("=")
    if not (category and equals and file):
        raise ArgumentTypeError(f"{text!r}: write CATEGORY=FILE, such as taxa=taxa.txt")
    return category, file


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r}: write a share between 0 and 1, such as 0.05")
    return value


def configure_build(parser: ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="FILE", nargs="*", help="text or .jsonl, a glob, or sample:NAME")
    parser.add_argument("--job", metavar="JOB.yaml", help="the tokenizer that this job trains, on its training side")
    parser.add_argument("--algorithm", choices=("bpe", "wordpiece", "unigram"))
    parser.add_argument("--vocab-size", type=int, metavar="N", help="tokens in all, special ones included")
    parser.add_argument("--lowercase", action="store_true", help="read text in lower case and without accents")
    add_reading(parser)
    add_to(parser)
    add_sets(parser)
    add_json(parser)


def configure_extend(parser: ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="a tokenizer directory, a job's id or a name on the Hub")
    add_terms(parser)
    add_to(parser)
    add_json(parser)


def configure_check(parser: ArgumentParser) -> None:
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a directory, a job's id or a name on the Hub")
    add_terms(parser)
    parser.add_argument(
        "--sentence", action="append", default=[], metavar="TEXT", help="with {} where a term stands (repeatable)"
    )
    parser.add_argument("--corpus", action="append", default=[], metavar="FILE", help="count its tokens (repeatable)")
    parser.add_argument("--base", metavar="BASE", help="what to compare with (default: itself without its terms)")
    parser.add_argument(
        "--max-fragmentation", type=share, metavar="SHARE", help="exit with 1 if more of the terms are cut"
    )
    add_reading(parser)
    add_json(parser)


def configure_normalize(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="objects, one a line; written with norm_text and align_map")
    parser.add_argument("--job", required=True, metavar="JOB.yaml", help="whose data.normalize is done")
    parser.add_argument("--field", default="text", metavar="NAME", help="the raw text (default: text)")
    parser.add_argument("--to", required=True, metavar="FILE", help="the file to be written, which must not exist")
    add_sets(parser)


def add_terms(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--terms", action="append", default=[], type=term_file, metavar="CATEGORY=FILE", help="a term a line"
    )


def add_reading(parser: ArgumentParser) -> None:
    parser.add_argument("--field", default="text", metavar="NAME", help="of the objects of .jsonl (default: text)")
    parser.add_argument(
        "--documents", choices=("line", "paragraph", "file"), default="line", help="of text files (default: line)"
    )


def add_to(parser: ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="DIR", help="the directory to be written, which must not exist")


COMMANDS = (
    Command(
        name="tokenizer build",
        examples=(
            "runjob tokenizer build texts/*.txt --algorithm bpe --to bpe/",
            "runjob tokenizer build --job jobs/mine.yaml --to bpe/",
        ),
        usage="FILE...",
        summary="train a tokenizer on files, or as a job does",
        configure=configure_build,
        run=run_build,
    ),
    Command(
        name="tokenizer extend",
        examples=("runjob tokenizer extend bpe/ --terms taxa=taxa.txt --to bpe-taxa/",),
        usage="BASE",
        summary="add terms as whole words",
        configure=configure_extend,
        run=run_extend,
    ),
    Command(
        name="tokenizer check",
        examples=(
            "runjob tokenizer check bpe/ --terms taxa=taxa.txt",
            "runjob tokenizer check latest --corpus texts.txt --max-fragmentation 0.2",
        ),
        usage="DIR",
        summary="how terms are cut, as a test",
        configure=configure_check,
        run=run_check,
    ),
    Command(
        name="tokenizer normalize",
        examples=("runjob tokenizer normalize raw.jsonl --job jobs/mine.yaml --to norm.jsonl",),
        usage="FILE",
        summary="a .jsonl as a job normalises it, aligned",
        configure=configure_normalize,
        run=run_normalize,
    ),
)
