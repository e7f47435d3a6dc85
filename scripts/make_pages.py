"""Write what the documentation says of the code: docs/cli.md from the parsers of the commands, and the functions in
docs/python.md from their signatures and docstrings. Run it after a change of either; tests hold the committed pages
equal to what it writes."""

import ast
import os
import sys
from pathlib import Path

from runjob.runner import api
from runjob.runner.cli import NAMES, find_command, help_text
from runjob.runner.command import Command, parser_of
from runjob.runner.commands_run import SUBMIT

DOCS = Path(__file__).parent.parent / "docs"
CLI_OPENING = """# Commands

Generated from the commands themselves by `scripts/make_pages.py`: what `runjob --help` and `runjob COMMAND --help` say.
"""
CHAPTER = "## Functions\n"


def main() -> int:
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    page = DOCS / "python.md"
    page.write_text(python_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def cli_page() -> str:
    commands = [SUBMIT, *map(find_command, NAMES)]
    parts = [CLI_OPENING, fenced(help_text()), *(entry(command) for command in commands)]
    return "\n".join(parts)


def entry(command: Command) -> str:
    title = f"runjob {command.name or command.usage}"
    os.environ["COLUMNS"] = "100"  # argparse asks how wide the terminal is
    return f"## {title}\n\n{fenced(parser_of(command).format_help())}"


def fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def python_page(page: str) -> str:
    """The page with its last chapter written anew: each function of `api.__all__`, in the order of the file."""
    kept, found, _ = page.partition(CHAPTER)
    assert found, f"docs/python.md has no {CHAPTER.strip()}"
    source = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    public = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name in api.__all__]
    return kept + CHAPTER + "\n" + "\n".join(map(function, public))


def function(node: ast.FunctionDef) -> str:
    assert node.returns is not None
    arguments = ast.unparse(node.args).replace("NONE", "{}").replace("_nobody", "...").replace("=", " = ")
    signature = f"{node.name}({arguments}) -> {ast.unparse(node.returns)}"
    return f"### `{node.name}`\n\n```text\n{signature}\n```\n\n{ast.get_docstring(node)}\n"


if __name__ == "__main__":
    sys.exit(main())
