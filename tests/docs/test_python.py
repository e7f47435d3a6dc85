"""Every `pycon` block of README.md and docs/ is typed into Python, in order, and its output compared: doctest, where
`...` stands for any text."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PYCON = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = {page: blocks for page in PAGES if (blocks := PYCON.findall(page.read_text(encoding="utf-8")))}


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_what_a_page_types_into_python_answers_as_shown(page, home):
    shutil.copytree(ROOT / "jobs", home.path / "jobs")
    (home.path / "page.txt").write_text("\n".join(SHOWN[page]), encoding="utf-8")
    argv = [sys.executable, "-W", "error", "-m", "doctest", "-o", "ELLIPSIS", "page.txt"]
    done = subprocess.run(argv, env=home.env, cwd=home.path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_about_python_has_examples():
    assert ROOT / "docs" / "python.md" in SHOWN
