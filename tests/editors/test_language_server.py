"""A job file typed in an editor: the real yaml-language-server, by the first line of the file, from the schema on this
disk. scripts/install_editor_server.sh installs it; where npm reaches nothing that script fails, and CI with it."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.schemas.schema import BUNDLE
from tests.conftest import ROOT, clean_environment, make_home, run_script
from tests.editors.language_server import LanguageServer

SERVER = ROOT / ".editor-server" / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
TINY = ROOT / "jobs" / "tiny"
# Each text is another document, which need not stand on the disk
NUMBERS = itertools.count()
FIRST = f"# yaml-language-server: $schema=../../schemas/{BUNDLE}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    if not SERVER.exists() or shutil.which("node") is None:
        pytest.skip("needs the system package yaml-language-server: scripts/install_editor_server.sh installs it")
    started = LanguageServer.start(SERVER, ROOT, clean_environment())
    yield started
    started.end()


def typed(server: LanguageServer, text: str) -> list[str]:
    """What an editor proposes where the mark | stands, in a file beside the tiny jobs."""
    file = TINY / f"typed-{next(NUMBERS)}.yaml"
    before, _, after = (FIRST + text).partition("|")
    server.open(file, before + after)
    return server.completions(file, before.count("\n"), len(before) - before.rfind("\n") - 1)


KINDS = [
    *("clm", "mlm", "char_ar", "plm"),
    *("token_classification", "relation_classification", "sequence_classification", "sentence_embedding"),
]


def test_the_kinds_of_objective_are_proposed(server):
    assert typed(server, "objective:\n  kind: |\n") == KINDS


def test_the_fields_of_the_chosen_kind_are_proposed_and_no_others(server):
    assert typed(server, "objective:\n  kind: mlm\n  |\n") == ["unit", "probability", "replace", "span"]


def test_the_sections_that_are_still_missing_are_proposed(server):
    proposed = typed(server, "schema: 1\nname: mine\n|\n")
    assert {"seed", "data", "model", "objective", "training", "evaluation", "hardware"} <= set(proposed)
    assert not {"schema", "name"} & set(proposed)


def test_hovering_over_a_field_says_what_it_means(server):
    file = TINY / "gpt2_dutch.yaml"
    text = file.read_text(encoding="utf-8")
    assert server.open(file, text) == []
    line = next(number for number, one in enumerate(text.splitlines()) if one.startswith("  global_batch:"))
    assert "Sequences in one optimiser step, over all ranks" in server.hover(file, line, 4)


def test_a_typo_is_underlined_where_it_stands(server):
    text = (TINY / "gpt2_dutch.yaml").read_text(encoding="utf-8").replace("micro_batch:", "micro_bacth:")
    line = next(number for number, one in enumerate(text.splitlines()) if "micro_bacth" in one)
    (problem,) = server.open(TINY / f"typed-{next(NUMBERS)}.yaml", text)
    assert problem["message"] == "Property micro_bacth is not allowed."
    assert problem["range"] == {"start": {"line": line, "character": 2}, "end": {"line": line, "character": 13}}
    assert problem["severity"] == 1


def test_a_value_that_breaks_a_rule_is_underlined_with_the_rule_in_words(server):
    text = (TINY / "gpt2_dutch.yaml").read_text(encoding="utf-8").replace("length: 1800 steps", "length: 1800 stps")
    (problem,) = server.open(TINY / f"typed-{next(NUMBERS)}.yaml", text)
    line = next(number for number, one in enumerate(text.splitlines()) if "1800 stps" in one)
    assert problem["range"] == {"start": {"line": line, "character": 10}, "end": {"line": line, "character": 19}}
    assert problem["message"] == "a number and a unit (steps, epochs or tokens)"


@pytest.mark.parametrize("file", sorted(ROOT.glob("jobs/**/*.yaml")), ids=lambda file: file.stem)
def test_nothing_is_underlined_in_a_shipped_job(server, file: Path):
    assert server.open(file, file.read_text(encoding="utf-8")) == []


def test_nothing_is_underlined_in_what_init_writes_and_the_schema_beside_it_is_enough(server, tmp_path: Path):
    home = make_home(tmp_path)
    assert run_script(home, "init", "--objective", "plm", "-o", "mine.yaml").returncode == 0
    file = home.path / "mine.yaml"
    text = file.read_text(encoding="utf-8")
    assert server.open(file, text) == []
    started = text.replace("  kind: plm\n", "  kind: \n")
    line = next(number for number, one in enumerate(started.splitlines()) if one == "  kind: ")
    again = home.path / "again.yaml"
    server.open(again, started)
    # those that have the other fields which stand there
    assert server.completions(again, line, len("  kind: ")) == ["mlm", "plm"]


def test_a_file_that_extends_another_may_leave_out_what_it_likes_and_is_served_as_well(server):
    part = "extends: gpt2_dutch.yaml\ntraining:\n  schedule: {warmup: 5 steps}\nmodel:\n  init: {dropout: 0.1}\n"
    assert server.open(TINY / f"typed-{next(NUMBERS)}.yaml", FIRST + part) == []
    (problem,) = server.open(TINY / f"typed-{next(NUMBERS)}.yaml", FIRST + part.replace("schedule", "shedule"))
    assert problem["message"] == "Property shedule is not allowed."
    assert typed(server, "extends: gpt2_dutch.yaml\nobjective:\n  kind: |\n") == KINDS
    assert {"extends", "matrix", "name"} <= set(typed(server, "schema: 1\n|\n"))
