"""No text that a user chose is ever read by a shell: commands are lists of words, and the few scripts that must be text
are literals which get everything else as arguments. Read from the source here; played with real places elsewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("schemas", "launchers", "data", "runner")
SHELLS = ("sh", "bash", "zsh", "/bin/sh", "/bin/bash")
# They take a text and give it to a shell.
BANNED = {
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("asyncio", "create_subprocess_shell"),
}
STARTERS = ("run", "Popen", "call", "check_call", "check_output")
# The user's own `setup` lines are shell text, which is what they are for: one argument, ours behind it.
OWN_LINES = ("launchers/shell.py", "with_setup")
# Where words become text: for ssh, which takes nothing else, and to be read by people.
QUOTING = {
    "launchers/shell.py",
    "launchers/slurm_submitit.py",
    "launchers/slurm_text.py",
    "runner/commands_run.py",
    "runner/why/change.py",
}


def complaints(name: str, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    literals = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_literal(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    allowed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (name, node.name) == OWN_LINES
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (f"{name}:{node.lineno}: {said}" for said in call_complaints(node))
        if isinstance(node, ast.List | ast.Tuple) and id(node) not in allowed:
            yield from (f"{name}:{node.lineno}: {said}" for said in words_complaints(node.elts, literals, name))
        if isinstance(node, ast.Import) and any(one.name == "shlex" for one in node.names) and name not in QUOTING:
            yield f"{name}:{node.lineno}: shlex; launchers/shell.py is where words become text"


def is_literal(value: ast.expr) -> bool:
    """A text with nothing in it but what stands in the source: our own constants, by their capital letters, too."""
    if isinstance(value, ast.JoinedStr):
        return all(is_literal(part.value) for part in value.values if isinstance(part, ast.FormattedValue))
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id.isupper())


def call_complaints(call: ast.Call) -> Iterator[str]:
    if any(word.arg == "shell" for word in call.keywords):
        yield "shell="
    if not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)):
        return
    owner, verb = call.func.value.id, call.func.attr
    if (owner, verb) in BANNED:
        yield f"{owner}.{verb}"
    text = (ast.JoinedStr, ast.Constant, ast.BinOp)
    if owner == "subprocess" and verb in STARTERS and call.args and isinstance(call.args[0], text):
        yield f"{owner}.{verb} of a text instead of a list of words"


def words_complaints(words: list[ast.expr], literals: set[str], name: str) -> Iterator[str]:
    values = [word.value if isinstance(word, ast.Constant) else None for word in words]
    for shell, option, script in zip(values, values[1:], words[2:], strict=False):
        if shell in SHELLS and isinstance(option, str) and option.startswith("-") and option.endswith("c"):
            literal = isinstance(script, ast.Constant) or (isinstance(script, ast.Name) and script.id in literals)
            if not literal:
                yield "a script for a shell that is made of parts"
    if values[:1] == ["ssh"] and len(values) > 1 and not name.startswith("launchers/ssh_target"):
        yield "words for ssh; launchers/ssh_target.py is where it is called"


def test_no_command_of_ours_goes_through_a_shell():
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    assert files
    found = [
        said for path in files for said in complaints(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "subprocess.run(['a'], shell=True)",
        "subprocess.run(f'rm {path}')",
        "subprocess.Popen('rm ' + path)",
        "os.system('true')",
        "asyncio.create_subprocess_shell('true')",
        "argv = ['sh', '-c', f'cd {path}']",
        "argv = ('bash', '-lc', script)",
        "argv = ['ssh', host, 'true']",
        "import shlex",
    ],
)
def test_a_planted_shell_is_found(planted: str):
    assert len(list(complaints("runner/planted.py", planted))) == 1


@pytest.mark.parametrize(
    "fine",
    ["subprocess.run(['rm', path])", "argv = ['sh', '-c', 'exec \"$@\"', 'sh', path]", "S = 'x'; ['sh', '-c', S]"],
)
def test_words_are_fine(fine: str):
    assert list(complaints("runner/planted.py", fine)) == []
