"""The tables of docs/reliability.md are what the trials showed, and what they show is that nothing was lost."""

import importlib.util
import re

from tests.conftest import ROOT


def test_the_tables_are_those_of_the_results_and_nothing_was_lost() -> None:
    spec = importlib.util.spec_from_file_location("make_reliability", ROOT / "scripts" / "make_reliability.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    rows = generator.read_results()
    committed = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert committed == generator.filled(committed, rows), "run scripts/make_reliability.py and commit the page"
    assert "| kill of everything |" in committed
    assert generator.sums(rows, "lost") == generator.sums(rows, "differing") == 0


def test_each_service_that_is_broken_has_as_many_tests_as_the_page_says() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| (tests/\S+\.py) \| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(rows) > 15
    for count, file, words in rows:
        names = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        meant = [name for name in names if any(word in name for word in words.split(" or "))]
        assert len(meant) == int(count), (file, words, meant)
