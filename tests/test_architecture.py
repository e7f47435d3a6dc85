"""The house keeps its shape: folders and packages agree, the control side stays light, every import contract bites.

What import-linter can say stands in pyproject.toml and is run here as in `make check`; that each contract reports a
planted violation is tested too, for a contract over a misspelt module is always kept.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("schemas", "launchers", "data", "runner")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# More than a second to import each, or needed by one launcher only.
HEAVY = ("torch", "deepspeed", "transformers", "datasets", "tokenizers", "submitit", "fsspec", "rich", "numpy", "boto3")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Imported when there is a bar to draw, by runner.follow's function, and when somebody at a terminal is to be asked.
LATE = ("runjob.runner.bar", "runjob.runner.questions")


def modules_of_control() -> list[str]:
    """Every module of the control side by its import path, but those that others import late."""
    files = [path for path in sources("schemas", "launchers", "runner") if "worker" not in path.relative_to(ROOT).parts]
    dotted = (".".join(["runjob", *path.relative_to(ROOT).with_suffix("").parts]) for path in files)
    return sorted(
        module.removesuffix(".__init__") for module in dotted if not module.endswith("__main__") and module not in LATE
    )


def test_the_packages_of_pyproject_are_the_folders():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    code = {path.parent for path in sources(*FOLDERS)}
    yaml = {path.parent for path in (ROOT / "jobs").rglob("*.yaml")} | {ROOT / "jobs"}
    found = {".".join(["runjob", *folder.relative_to(ROOT).parts]) for folder in code | yaml}
    assert set(listed) == found
    assert len(listed) == len(set(listed))


def test_every_package_says_that_it_is_typed():
    for folder in {path.parent for path in sources(*FOLDERS)} - {ROOT / "data" / "samples"}:
        assert (folder / "py.typed").exists(), f"{name(folder)} has no py.typed: mypy would not believe its types"


@pytest.mark.parametrize("module", modules_of_control())
def test_a_control_module_starts_without_heavy_imports(module, home):
    code = f"import sys, json, {module}; print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=home.env, cwd=home.path, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == [], (
        f"{module} imports these at its top; move them into the function that needs them"
    )


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("runjob.launchers.supervisor", ["yaml", "numpy", "importlib.metadata", "runjob.schemas.job"]),
        ("runjob.runner.worker.prepare", ["yaml", "torch", "transformers", "pyarrow", "importlib.metadata"]),
    ],
)
def test_a_stage_starts_without_what_it_seldom_needs(module, without, home):
    """Each of these is part of every start of a job: benchmarks/start.py."""
    code = f"import sys, json, {module}; print(json.dumps([name for name in {without!r} if name in sys.modules]))"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=home.env, cwd=home.path, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == []


def test_the_worker_knows_schemas_data_and_itself_alone():
    allowed = ("runjob.schemas", "runjob.data", "runjob.runner.worker")
    for path in sources("runner/worker"):
        for line, imported in imports(path):
            fine = not imported.startswith("runjob") or imported.startswith(allowed)
            assert fine, f"{name(path)}:{line}: the worker imports {imported}; what both sides need belongs in schemas/"


def test_no_room_is_longer_than_400_lines():
    for path in sources(*FOLDERS, "tests"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{name(path)} has {lines} lines: which concept in it deserves a room of its own?"


# Rooms that talk to the user, and programs whose output is their log.
SPEAKERS = (
    "runner/cli",
    "runner/commands_",
    "runner/grid",
    "runner/text",
    "runner/follow",
    "runner/verify",
    "runner/worker/",
    "schemas/own_log",
)


def test_only_rooms_that_talk_to_the_user_print():
    for path in sources(*FOLDERS):
        if name(path).startswith(SPEAKERS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not prints, f"{name(path)}:{node.lineno}: only rooms that talk to the user print; return the text"


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: imports are written in full, from runjob."
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the code in which a test may plant things; import-linter reads it as the package runjob."""
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, tmp_path / "runjob" / folder, ignore=shutil.ignore_patterns("__pycache__", "*.txt")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(house: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).parent / "lint-imports"
    environment = {**os.environ, "PYTHONPATH": str(house)}
    argv = [program, "--no-cache", "--config", house / "pyproject.toml"]
    return subprocess.run(argv, cwd=house, env=environment, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold(house):
    answer = lint_imports(house)
    assert answer.returncode == 0, answer.stdout


VIOLATIONS = {
    "folders: schemas below launchers and data, runner on top": [
        ("schemas/planted.py", "import runjob.data"),
        ("launchers/planted.py", "import runjob.data"),
        ("data/planted.py", "import runjob.launchers"),
        ("launchers/planted.py", "import runjob.runner"),
    ],
    "only the worker imports the worker": [
        ("runner/planted.py", "def late() -> None:\n    import runjob.runner.worker")
    ],
    "the worker never imports launchers": [("runner/worker/planted.py", "import runjob.launchers")],
    "torch and its company only in data and the worker": [
        ("runner/planted.py", "def late() -> None:\n    import torch"),
        ("launchers/planted.py", "import transformers"),
        ("schemas/planted.py", "import numpy"),
    ],
    "deepspeed only beside the engine": [
        ("runner/worker/planted.py", "import deepspeed"),
        ("data/planted.py", "from deepspeed import zero"),
    ],
    "cluster and cloud clients only in their launcher": [
        ("runner/planted.py", "import submitit"),
        ("launchers/planted.py", "import boto3"),
    ],
}


def test_every_contract_has_a_planted_violation():
    assert {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]} == set(VIOLATIONS)


@pytest.mark.parametrize(
    ("contract", "file", "code"),
    [(contract, file, code) for contract, planted in VIOLATIONS.items() for file, code in planted],
)
def test_a_planted_violation_is_reported(house, contract, file, code):
    (house / "runjob" / file).write_text(code + "\n", encoding="utf-8")
    answer = lint_imports(house)
    assert answer.returncode == 1
    _, _, report = answer.stdout.partition("Broken contracts")
    _, _, report = report.partition(f"{contract}\n{'-' * len(contract)}\n")
    assert f"runjob.{file.removesuffix('.py').replace('/', '.')} -> " in report
