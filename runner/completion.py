"""What the shell proposes at TAB: commands, their options, job files, ids, fields of the job and the values they take.

The shell asks the program itself, by argcomplete's protocol: the line so far comes in the environment, the proposals go
out on a file descriptor of their own. So nothing has to be made anew when a command gets an option, and ids are those
of this moment. What an argument takes is known by its metavar, the word that its help shows.
"""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from argcomplete.completers import BaseCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from runjob.runner.cli import GROUPS, JOB_SUFFIXES, NAMES, find_command, first_plain_word
from runjob.schemas.schema import Schema, bundled_schema, leaves_of

# prefix -> proposals; argcomplete leaves out those that do not begin with it
Proposals = Iterable[str]


def shell_code(shell: str) -> str:
    """What the shell reads at its start."""
    return shellcode(["runjob"], True, shell)  # by place: no `shell=` stands in our code


def answer_shell() -> None:
    """Write the proposals for the line of the environment, and end the process."""
    _, _, _, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    finder = CompletionFinder()
    finder(parser_for(words[1:]), always_complete_options="long", default_completer=_Files())


def parser_for(words: list[str]) -> ArgumentParser:
    """A parser of what may follow these words: what they name already is one that takes them as they are."""
    parser = ArgumentParser(add_help=False)
    place = first_plain_word(words)
    if place is None:
        from runjob.runner.commands_run import SUBMIT

        SUBMIT.configure(parser)
        _propose(parser, {"JOB.yaml": _commands_and_jobs})
        return parser
    name, rest = words[place], words[place + 1 :]
    members = _members(name)
    if name in NAMES or members:
        parser.add_argument("command", choices=[name])
    if members:
        parser.add_argument("member", choices=members)
        name = f"{name} {next((word for word in rest if word in members), '')}"
    if name in NAMES:
        find_command(name).configure(parser)
    elif not members:
        from runjob.runner.commands_run import SUBMIT

        SUBMIT.configure(parser)
    _propose(parser, {})
    return parser


def _propose(parser: ArgumentParser, besides: dict[str, "Completer"]) -> None:
    for action in parser._actions:
        completer = {**BY_METAVAR, **besides}.get(str(action.metavar))
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]


Completer = Callable[..., Proposals]


def _commands_and_jobs(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401 - argcomplete passes more than we want
    """Each command with its line of the help, where the shell shows one."""
    commands = {name: find_command(name).summary for name in NAMES if " " not in name}
    groups = {group: f"{group} {'|'.join(_members(group))}" for group in sorted(GROUPS)}
    return {**commands, **groups, **dict.fromkeys(_jobs(prefix), "")}


def _sizes(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    """Of GPUs that are sold."""
    return [f"{gib}GiB" for gib in (8, 11, 12, 16, 24, 32, 40, 48, 80, 141)]


def _members(group: str) -> list[str]:
    return [name.split()[1] for name in NAMES if name.startswith(f"{group} ")]


def _jobs(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    return [path for path in _paths(prefix) if path.endswith((*JOB_SUFFIXES, "/"))]


def _directories(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    return [path for path in _paths(prefix) if path.endswith("/")]


class _Files(BaseCompleter):
    """Any file, where nothing says which."""

    def __call__(self, *, prefix: str, action: Action, parser: ArgumentParser, parsed_args: Namespace) -> list[str]:
        return list(_paths(prefix))


def _paths(prefix: str) -> Iterator[str]:
    """What lies there and begins so, a directory with its slash."""
    folder, _, begun = prefix.rpartition("/")
    base = Path(folder or ("/" if prefix.startswith("/") else "."))
    try:
        entries = sorted(base.expanduser().iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(begun) and (begun or not entry.name.startswith(".")):
            start = prefix[: len(prefix) - len(begun)]
            yield f"{start}{entry.name}{'/' if entry.is_dir() else ''}"


def _ids(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.schemas.run import home, run_ids

    return ["latest", *run_ids(home())]


def _ids_and_groups(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.schemas.group import group_ids
    from runjob.schemas.run import home

    return [*_ids(prefix), *group_ids(home())]


def _groups(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.schemas.group import group_ids
    from runjob.schemas.run import home

    return group_ids(home())


def _ids_and_directories(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    return [*_ids(prefix), *_directories(prefix)]


def _checkpoints(prefix: str, parsed_args: Namespace, **_: Any) -> Proposals:  # noqa: ANN401
    """The steps that the job of this line has saved, where it is named already."""
    from runjob.schemas.errors import RunjobError
    from runjob.schemas.manifest import steps_in
    from runjob.schemas.run import find_run, home

    try:
        return ["best", *map(str, steps_in(find_run(home(), parsed_args.id).checkpoints))]
    except (RunjobError, TypeError):  # the id stands behind the cursor, or nowhere
        return ["best"]


def _launchers(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.launchers import list_launchers

    return list_launchers()


def _recipes(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.runner.recipes import RECIPES, names

    return names(RECIPES)


def _objectives(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    from runjob.runner.recipes import OBJECTIVES

    return OBJECTIVES


def _settings(prefix: str, **_: Any) -> Proposals:  # noqa: ANN401
    """`training.le` goes on with the fields of the schema, `training.precision=` with the words that it takes."""
    path, given, _value = prefix.partition("=")
    known = _fields()
    if not given:
        return [f"{name}=" for name in known]
    return [f"{path}={value}" for value in known.get(path, ())]


def _fields() -> dict[str, tuple[str, ...]]:
    """Every field that holds no others, by its dotted path, with the words that it takes; of all variants."""
    found: dict[str, tuple[str, ...]] = {}
    for path, field in leaves_of(bundled_schema()):
        found[path] = (*found.get(path, ()), *_words(field))
    return found


def _words(field: Schema) -> tuple[str, ...]:
    if field.get("type") == "boolean":
        return ("true", "false")
    words = field["enum"] if "enum" in field else [field["const"]] if "const" in field else field.get("examples", [])
    return tuple(str(word) for word in words if not isinstance(word, dict | list) and word is not None)


BY_METAVAR: dict[str, Completer] = {
    "ID": _ids,
    "ID|GROUP": _ids_and_groups,
    "GROUP": _groups,
    "A": _ids,
    "B": _ids,
    "ID|DIR": _ids_and_directories,
    "JOB.yaml": _jobs,
    "DIR": _directories,
    "STEP|best": _checkpoints,
    "LAUNCHER": _launchers,
    "RECIPE": _recipes,
    "KIND": _objectives,
    "PATH=VALUE": _settings,
    "SIZE": _sizes,
}
