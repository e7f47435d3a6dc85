"""The notebook runs from its first cell to its last, and what it shows is what comes out."""

import pytest

from tests.docs.scripts import load_script

pytestmark = pytest.mark.slow


def test_the_notebook_shows_what_its_cells_say(home, processes):
    notebook = load_script("make_notebook")
    ran = notebook.run(home.path, home.env)
    assert ran == notebook.NOTEBOOK.read_text(encoding="utf-8"), (
        "run scripts/make_notebook.py and look at the difference"
    )
