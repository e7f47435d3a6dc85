"""The tables of docs/reliability.md are what the trials showed, whatever that is."""

import re

from tests.conftest import ROOT
from tests.docs.scripts import load_script


def test_the_tables_are_those_of_the_results() -> None:
    generator = load_script("make_reliability")
    committed = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    filled = generator.filled(committed, generator.read_results())
    assert committed == filled, "run scripts/make_reliability.py and commit the page"
    assert "| kill of everything |" in committed


def test_a_lost_trial_is_counted_in_the_table_and_in_the_sum() -> None:
    generator = load_script("make_reliability")
    one = next(row for row in generator.read_results() if row["fault"] == "kill of everything")
    rows = [{**one, "trials": 3, "lost": 0}, {**one, "trials": 4, "lost": 1, "differing": 2, "detected": 6}]
    assert "| kill of everything | 7 | 1 | 2 |" in generator.faults_table(rows)
    assert "**7 kills so far, 1 lost, 2 that went on otherwise**" in generator.total(rows)


def test_a_trial_that_lost_something_says_what_it_was() -> None:
    for row in load_script("make_reliability").read_results():
        assert row["notes"] or not row["lost"] + row["differing"], row


def test_each_service_that_is_broken_has_as_many_tests_as_the_page_says() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| (tests/\S+\.py) \| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(rows) > 15
    for count, file, words in rows:
        names = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        meant = [name for name in names if any(word in name for word in words.split(" or "))]
        assert len(meant) == int(count), (file, words, meant)
