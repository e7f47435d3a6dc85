"""What machines read of `validate`, held against the specifications of those machines: SARIF's own JSON Schema, and the
way in which GitHub's runner takes a line of output apart."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.schemas.problems import Mark, Problem
from runjob.schemas.report import FORMATS, format_report
from tests.small_job import small_job

SPECIFICATIONS = Path(__file__).parent / "specifications"
SARIF = jsonschema.Draft4Validator(
    json.loads((SPECIFICATIONS / "sarif-schema-2.1.0.json").read_text(encoding="utf-8")),
    format_checker=jsonschema.FormatChecker(),
)
# As a problem has them: of one line, but a file may be called anything
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
PROBLEMS = st.builds(
    lambda file, line, path, message: Problem.at(Mark(file, line, line + 2), path, message),
    TEXT.filter(lambda text: not text.startswith("--set")),
    st.integers(1, 10**6),
    TEXT,
    TEXT,
)


def take_apart(line: str) -> tuple[str, dict[str, str], str]:
    """(command, properties, message) of a workflow command, in the order in which GitHub's runner does it: what stands
    between the colons is cut at its first space, then at commas, then at `=`, and only then are escapes read."""
    match = re.fullmatch(r"::([^ :]+)(?: (.*?))?::(.*)", line, re.DOTALL)
    assert match, line
    pairs = [pair.partition("=") for pair in (match[2] or "").split(",")]
    properties = {key: unescape(value, "%0D %0A %3A %2C %25") for key, _, value in pairs}
    return match[1], properties, unescape(match[3], "%0D %0A %25")


def unescape(text: str, known: str) -> str:
    for escape in known.split():  # the per cent sign last, or `%250A` would become a line break
        text = text.replace(escape, unquote(escape))
    return text


@settings(max_examples=80, deadline=None)
@given(st.lists(PROBLEMS, min_size=1, max_size=3))
def test_github_takes_a_line_apart_into_what_was_meant(problems):
    report = {problem.file: [problem] for problem in problems}
    shown = format_report(report, "github")
    # the runner reads lines, and a carriage return ends one too
    lines = re.split(r"[\r\n]", shown.removesuffix("\n"))
    assert len(lines) == len(report)
    for line, problem in zip(lines, (one for (one,) in report.values()), strict=True):
        assert take_apart(line) == (
            "error",
            {"file": problem.file, "line": str(problem.line), "col": str(problem.column)},
            f"{problem.path}: {problem.message}",
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(PROBLEMS, max_size=3))
def test_sarif_is_what_its_schema_demands_whatever_a_file_is_called(problems):
    report = {problem.file: [problem] for problem in problems}
    log = json.loads(format_report(report, "sarif"))
    SARIF.validate(log)
    results = log["runs"][0]["results"]
    places = [one["locations"][0]["physicalLocation"] for one in results]
    assert [unquote(place["artifactLocation"]["uri"]) for place in places] == list(report)
    for place in places:
        # RFC 3986: nothing but these signs, and what stands before the first slash is no scheme
        assert re.fullmatch(r"[A-Za-z0-9_.~/%-]+", place["artifactLocation"]["uri"])
    assert [place["region"]["startLine"] for place in places] == [one.line for (one,) in report.values()]


def test_the_schema_refuses_what_is_not_sarif():
    """That it is read, and bites."""
    log = json.loads(format_report({"a.yaml": []}, "sarif"))
    log["runs"][0]["results"] = [{"message": "text"}]
    with pytest.raises(jsonschema.ValidationError):
        SARIF.validate(log)


def test_what_the_command_prints_of_several_files_is_one_sarif_log(runjob, home):
    (home.path / "good.yaml").write_text(small_job("text.txt"))
    (home.path / "a, b%0A.yaml").write_text(small_job("text.txt").replace("seed", "sed").replace("clm", "cml"))
    done = runjob("validate", "--format", "sarif", "good.yaml", "a, b%0A.yaml", "none.yaml")
    assert done.returncode == 2
    log = json.loads(done.stdout)
    SARIF.validate(log)
    places = [one["locations"][0]["physicalLocation"] for one in log["runs"][0]["results"]]
    assert [(unquote(place["artifactLocation"]["uri"]), "region" in place) for place in places] == [
        ("a, b%0A.yaml", True),
        ("none.yaml", False),
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_a_name_that_is_no_text_is_told_in_every_format(runjob, home, form: str):
    """A file's name is bytes; these are not UTF-8, which is all that this locale lets Python print."""
    file = os.fsdecode(b"caf\xe9.yaml")
    (home.path / file).write_text("seed: x\n")
    done = runjob("validate", "--format", form, file, env={"LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (2, "")
    shown = {"sarif": "caf%E9.yaml", "github": "caf?.yaml"}
    assert shown.get(form, r"caf\udce9.yaml") in done.stdout
