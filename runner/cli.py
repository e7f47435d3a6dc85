"""Words to calls: `runjob JOB.yaml` submits a job, `runjob COMMAND ...` does everything else.

The one place where errors become messages and exit codes. Each command's own file holds its arguments and its work.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from runjob.runner import (
    commands_adopt,
    commands_aws,
    commands_check,
    commands_convert,
    commands_fetch,
    commands_jobs,
    commands_model,
    commands_prepare,
    commands_run,
    commands_tokenizer,
    commands_upload,
)
from runjob.runner.command import Command
from runjob.runner.text import did_you_mean
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.problems import JobFileError

ROOMS = (
    commands_check,
    commands_prepare,
    commands_jobs,
    commands_run,
    commands_fetch,
    commands_upload,
    commands_adopt,
    commands_model,
    commands_convert,
    commands_tokenizer,
    commands_aws,
)
COMMANDS = {command.name: command for room in ROOMS for command in room.COMMANDS}
SUBMIT = commands_run.SUBMIT
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
)
# Commands of two words, by the first
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
JOB_SUFFIXES = (".yaml", ".yml", ".json")

EXAMPLES = """\
examples:
  runjob jobs/tiny/gpt2_dutch.yaml
  runjob jobs/gpt2_dutch_small.yaml --set training.learning_rate=3e-4 --detach
  runjob ps
  runjob resume latest
"""


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
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
    if place is None or words[place] not in COMMANDS:
        if place is not None:
            check_job_file(words[place])
        return run_command(SUBMIT, words)
    return run_command(COMMANDS[words[place]], words[:place] + words[place + 1 :])


def run_command(command: Command, words: list[str]) -> int:
    parser = ArgumentParser(prog=f"runjob {command.name}".strip(), description=command.summary, allow_abbrev=False)
    command.configure(parser)
    return command.run(parser.parse_intermixed_args(words))


def run_group(group: str, words: list[str]) -> int:
    """`runjob tokenizer check DIR`: what is to be done stands in the second word."""
    members = {name.split()[1]: command for name, command in COMMANDS.items() if name.startswith(f"{group} ")}
    place = first_plain_word(words)
    if place is not None and words[place] in members:
        return run_command(members[words[place]], words[:place] + words[place + 1 :])
    if place is not None:
        raise JobError(f"{group} {words[place]}: known here: {', '.join(members)}{did_you_mean(words[place], members)}")
    lines = [f"  runjob {command.name} {command.usage:<10} {command.summary}" for command in members.values()]
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
        near = [str(path) for path in folder.glob("*.yaml")] if folder.is_dir() else []
        raise JobError(f"{word}: no such job file{did_you_mean(word, near)}")
    raise JobError(f"{word}: neither a command nor a job file{did_you_mean(word, COMMANDS)}; see `runjob --help`")


def help_text() -> str:
    """Eighty columns, one line a command."""
    lines = ["usage: runjob [--launcher NAME] JOB.yaml [--set PATH=VALUE ...] [--detach]", "       runjob COMMAND ..."]
    lines += ["", "One YAML file to a pretrained language model, exactly resumable by its id.", "", "commands:"]
    lines += [f"  {f'{command.name} {command.usage}':<26} {command.summary}" for command in COMMANDS.values()]
    lines += ["", "`runjob COMMAND --help` lists a command's options; listings take --json."]
    lines += ["An ID may be a prefix, `latest`, or NAME@latest. Jobs are kept under", "$RUNJOB_HOME (default: ./runs)."]
    return "\n".join([*lines, "", EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
