"""Words to calls: `runjob JOB.yaml` submits a job, `runjob COMMAND ...` does everything else.

The one place where errors become messages and exit codes. Each command's own file holds its arguments and its work.
"""

import importlib
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.problems import JobFileError

if TYPE_CHECKING:
    from runjob.runner.command import Command

# The room of each command, in the order of the help. Only the one that is asked for is imported: all of them take 50 of
# the 150 ms of a `validate`.
ROOMS = {
    "commands_start": ("init", "ls", "samples", "schema"),
    "commands_doctor": ("doctor",),
    "commands_check": ("validate", "plan"),
    "commands_fit": ("fit",),
    "commands_prepare": ("prepare",),
    "commands_jobs": ("ps", "status", "logs", "cancel"),
    "commands_why": ("why",),
    "commands_compare": ("diff", "compare"),
    "commands_report": ("report",),
    "commands_lineage": ("lineage",),
    "commands_run": ("resume", "verify-resume"),
    "commands_fetch": ("fetch",),
    "commands_upload": ("upload",),
    "commands_adopt": ("adopt",),
    "commands_model": ("generate", "fill-mask"),
    "commands_extract": ("extract",),
    "commands_convert": ("export", "import"),
    "commands_tokenizer": ("tokenizer build", "tokenizer extend", "tokenizer check", "tokenizer normalize"),
    "commands_aws": ("aws ls", "aws down"),
    "commands_completion": ("completion",),
}
NAMES = {name: room for room, names in ROOMS.items() for name in names}
# Options that take the next word: it is neither a command nor a job file, whatever it looks like.
TAKING = (
    "--launcher",
    "--set",
    "--format",
    "--out",
    "--from",
    "--to",
    "--rank",
    "--step",
    "--terms",
    "--job",
    "--region",
    "--recipe",
    "--objective",
    "--size",
    "--data",
    "--from-model",
    "--device",
    "-o",
    "--metric",
    "--diff",
    "--output",
    "--at-once",
    "--cell",
    "--memory",
    "--ner",
    "--re",
    "--field",
    "--bad-rows",
    "--batch-size",
)
# Commands of two words, by the first
GROUPS = {name.split()[0] for name in NAMES if " " in name}
JOB_SUFFIXES = (".yaml", ".yml", ".json")

EXAMPLES = """\
examples:
  runjob init
  runjob jobs/tiny/gpt2_dutch.yaml
  runjob jobs/gpt2_dutch_small.yaml --set training.learning_rate=3e-4 --detach
  runjob ps
  runjob resume latest
"""


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if "_ARGCOMPLETE" in os.environ:  # the shell asks what could stand here
            from runjob.runner.completion import answer_shell

            answer_shell()
        return dispatch(words)
    except RunjobError as error:
        # A job file's problems begin with file:line:column, which editors and CI read; no word stands before them.
        print(error if isinstance(error, JobFileError) else f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`) has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        import importlib.metadata

        print(f"runjob {importlib.metadata.version('runjob')}")
        return 0
    place = first_plain_word(words)
    if place is not None and words[place] in GROUPS:
        return run_group(words[place], words[:place] + words[place + 1 :])
    if place is None or words[place] not in NAMES:
        if place is not None:
            check_job_file(words[place])
        from runjob.runner.commands_run import SUBMIT

        return run_command(SUBMIT, words)
    return run_command(find_command(words[place]), words[:place] + words[place + 1 :])


def find_command(name: str) -> "Command":
    commands: tuple[Command, ...] = importlib.import_module(f"runjob.runner.{NAMES[name]}").COMMANDS
    return next(command for command in commands if command.name == name)


def run_command(command: "Command", words: list[str]) -> int:
    from runjob.runner.command import parser_of

    return command.run(parser_of(command).parse_intermixed_args(words))


def run_group(group: str, words: list[str]) -> int:
    """`runjob tokenizer check DIR`: what is to be done stands in the second word."""
    members = {name.split()[1]: name for name in NAMES if name.startswith(f"{group} ")}
    place = first_plain_word(words)
    if place is not None and words[place] in members:
        return run_command(find_command(members[words[place]]), words[:place] + words[place + 1 :])
    if place is not None:
        raise JobError(f"{group} {words[place]}: known here: {', '.join(members)}{near(words[place], members)}")
    known = map(find_command, members.values())
    lines = [f"  runjob {command.name} {command.usage:<10} {command.summary}" for command in known]
    print("\n".join(lines))
    return 0 if {"-h", "--help"} & set(words) else 2


def first_plain_word(words: Sequence[str]) -> int | None:
    """The place of the first word that is neither an option nor an option's value."""
    for place, word in enumerate(words):
        if not word.startswith("-") and (place == 0 or words[place - 1] not in TAKING):
            return place
    return None


def check_job_file(word: str) -> None:
    """JobError for a word that is neither a command nor a file; what stands in a file is `read_job`'s to judge."""
    if Path(word).exists():
        return
    if word.endswith(JOB_SUFFIXES) or "/" in word:
        folder = Path(word).parent
        there = [str(path) for path in folder.glob("*.yaml")] if folder.is_dir() else []
        raise JobError(f"{word}: no such job file{near(word, there)}")
    raise JobError(f"{word}: neither a command nor a job file{near(word, NAMES)}; see `runjob --help`")


def near(word: str, known: Collection[str]) -> str:
    from runjob.runner.text import did_you_mean

    return did_you_mean(word, known)


def help_text() -> str:
    """Eighty columns, one line a command."""
    lines = ["usage: runjob [--launcher NAME] JOB.yaml [--set PATH=VALUE ...] [--detach]", "       runjob COMMAND ..."]
    lines += ["", "One YAML file to a pretrained language model, exactly resumable by its id.", "", "commands:"]
    lines += [f"  {f'{command.name} {command.usage}':<26} {command.summary}" for command in map(find_command, NAMES)]
    lines += ["", "`runjob COMMAND --help` lists a command's options; listings take --json."]
    lines += ["An ID may be a prefix, `latest`, or NAME@latest. Jobs are kept under", "$RUNJOB_HOME (default: ./runs)."]
    return "\n".join([*lines, "", EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
