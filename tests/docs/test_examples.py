"""Every example in a docstring is typed, and says what the docstring says it does."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("schemas", "launchers", "data", "runner")
FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "file", [file for file in FILES if ">>> " in (ROOT / file).read_text(encoding="utf-8")], ids=str
)
def test_the_examples_of_a_module_are_true(file: Path):
    module = importlib.import_module(".".join(["runjob", *file.with_suffix("").parts]))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
