"""What a command of `runjob` is: a name, a line of help, its arguments, a function from them to an exit code, and
examples of what is typed, which the tests type too."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass

from runjob.launchers import OWN


@dataclass(frozen=True, kw_only=True)
class Command:
    name: str
    usage: str
    summary: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    examples: tuple[str, ...] = ()


def parser_of(command: Command) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"runjob {command.name}".strip(),
        description=command.summary,
        epilog="\n  ".join(["examples:", *command.examples]),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    return parser


def add_id(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", type=job_id, help="a job's id, an unambiguous prefix, `latest` or NAME@latest"
    )


def add_id_or_group(parser: ArgumentParser) -> None:
    said = "a job's id, an unambiguous prefix, `latest` or NAME@latest; or that of a matrix, for all of its jobs"
    parser.add_argument("id", metavar="ID|GROUP", type=job_id, help=said)


def job_id(text: str) -> str:
    """Not the empty prefix of every job, which is what `runjob cancel "$UNSET"` would mean."""
    if not text.strip() or text.startswith("@"):
        raise ArgumentTypeError(f"{text!r} is no job's id; `runjob ps` lists them")
    return text


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def add_watch(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="show again every two seconds")


def add_sets(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        dest="sets",
        help="put a value in the place of the file's, e.g. training.learning_rate=3e-4 (repeatable)",
    )


def add_launcher(parser: ArgumentParser, *, default: str | None) -> None:
    # OWN and not list_launchers(): importlib.metadata takes 40 ms, and only --help would show it
    where = f"where it runs: {', '.join(sorted(OWN))}, or a launcher that another package adds"
    said = where + (f" (default {default})" if default else " (default: where it ran before)")
    parser.add_argument("--launcher", default=default, metavar="LAUNCHER", help=said)


def add_quiet(parser: ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print the id and how it ended, and nothing on the way")


def add_detach(parser: ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="return as soon as the job is submitted")


def add_at_once(parser: ArgumentParser) -> None:
    said = "of the jobs of a matrix so many at a time (default 1; under Slurm hardware.slurm.array_parallelism decides)"
    parser.add_argument("--at-once", type=positive, default=None, metavar="N", help=said)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
