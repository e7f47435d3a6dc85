"""What pages say of the code is generated from it, and the list of licences: the committed ones are what the generators
write."""

from runjob.runner import api
from runjob.runner.cli import NAMES
from runjob.schemas.schema import bundled_schema
from tests.conftest import ROOT
from tests.docs.scripts import load_script


def committed(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_reference_is_what_the_schema_says() -> None:
    page = committed("job-file.md")
    written = load_script("make_reference").reference(bundled_schema())
    assert page == written, "run scripts/make_reference.py and commit the page"
    assert "`training.schedule`" in page


def test_the_licences_are_those_of_the_packages_that_are_installed() -> None:
    page = committed("licences.md")
    assert page == load_script("make_licences").page(), "run scripts/make_licences.py and commit the page"
    assert "| numpy |" in page
    assert "not stated" not in page


def test_what_follows_from_a_requirement_is_known_with_its_extras() -> None:
    closure = load_script("make_licences").closure
    assert "aiohttp" not in closure(["fsspec"])
    assert {"fsspec", "aiohttp", "yarl"} <= closure(["fsspec[http]>=2"])
    assert {"jinja2", "markupsafe"} <= closure(['jinja2; python_version >= "3"'])


def test_the_page_of_commands_is_what_their_help_says() -> None:
    assert committed("cli.md") == load_script("make_pages").cli_page(), "run scripts/make_pages.py and commit the page"
    assert [name for name in NAMES if f"\n## runjob {name}\n" not in committed("cli.md")] == []


def test_the_page_of_functions_is_what_their_docstrings_say() -> None:
    page = committed("python.md")
    assert page == load_script("make_pages").python_page(page), "run scripts/make_pages.py and commit the page"
    functions = [name for name in api.__all__ if name[0].islower()]
    assert [name for name in functions if f"\n### `{name}`\n" not in page] == []
    assert {"validate", "plan", "submit", "status", "wait", "resume", "events"} <= set(functions)
