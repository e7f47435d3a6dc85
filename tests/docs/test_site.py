"""The documentation as a site: every page is in it and every link leads somewhere (mkdocs calls all else a warning, and
a warning an error), and nothing in it is fetched from another host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

# Whatever a page loads by itself; links that a reader may follow are another matter
LOADED = re.compile(r"""(?:\bsrc=|<link[^>]* href=|url\(|@import\s)["']?((?:https?:)?//[^"')\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # an address on which nobody listens: what asked the network would fail
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**clean_environment(), **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site_and_the_first_is_the_readme(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {str(page) for page in pages if not (site / page).is_file()} == set()
    assert "<h1" in (site / "index.html").read_text(encoding="utf-8")
    assert "verify-resume" in (site / "index.html").read_text(encoding="utf-8")
    notebook = (site / "notebooks" / "first_run.html").read_text(encoding="utf-8")
    assert "preempted at step 20 of 40" in notebook
    assert (site / "source" / "jobs" / "tiny" / "gpt2_dutch.yaml").is_file()


def test_a_reader_without_a_network_misses_nothing(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    found = {(path.name, address) for path in files for address in LOADED.findall(path.read_text(encoding="utf-8"))}
    assert len(files) > 40
    assert found == set()


@pytest.mark.parametrize("document", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_an_outside_link_is_whole_and_encrypted(document: Path) -> None:
    for address in re.findall(r"\]\((https?:[^)]*)\)", document.read_text(encoding="utf-8")):
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]{2,}(?:/[^\s()]*)?", address), address
