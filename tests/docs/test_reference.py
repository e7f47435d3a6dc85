"""Pages that are generated are what their generator writes: the reference of the job file, the list of licences."""

import importlib.util
from types import ModuleType

from runjob.schemas.schema import bundled_schema
from tests.conftest import ROOT


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_schema_says() -> None:
    committed = (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8")
    written = script("make_reference").reference(bundled_schema())
    assert committed == written, "run scripts/make_reference.py and commit the page"
    assert "`training.schedule`" in committed


def test_the_licences_are_those_of_the_packages_that_are_installed() -> None:
    committed = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert committed == script("make_licences").page(), "run scripts/make_licences.py and commit the page"
    assert "| numpy |" in committed
    assert "not stated" not in committed


def test_what_follows_from_a_requirement_is_known_with_its_extras() -> None:
    closure = script("make_licences").closure
    assert "aiohttp" not in closure(["fsspec"])
    assert {"fsspec", "aiohttp", "yarl"} <= closure(["fsspec[http]>=2"])
    assert {"jinja2", "markupsafe"} <= closure(['jinja2; python_version >= "3"'])
