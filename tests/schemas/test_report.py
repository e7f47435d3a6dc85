"""What `runjob validate` prints: the same problems as text, JSON, GitHub workflow commands and SARIF."""

import json

import pytest

from runjob.schemas.problems import Problem
from runjob.schemas.report import FORMATS, format_report

UNKNOWN = Problem(file="jobs/a, b.yaml", line=7, column=3, path="training.x", message="100 % unknown")
SET = Problem(file="--set seed=x", line=0, column=0, path="seed", message="expected a whole number")
REPORT = {"jobs/good.yaml": [], "jobs/a, b.yaml": [UNKNOWN, SET]}


def test_text_has_one_line_a_problem_and_names_valid_files():
    assert format_report(REPORT, "text") == (
        "jobs/good.yaml: valid\njobs/a, b.yaml:7:3: training.x: 100 % unknown\n--set seed=x: expected a whole number\n"
    )


def test_json_holds_every_field():
    report = json.loads(format_report(REPORT, "json"))
    assert report["valid"] is False
    assert report["files"][0] == {"file": "jobs/good.yaml", "valid": True, "problems": []}
    assert report["files"][1]["problems"][0] == {
        "file": "jobs/a, b.yaml",
        "line": 7,
        "column": 3,
        "path": "training.x",
        "message": "100 % unknown",
    }


def test_github_commands_are_escaped():
    assert format_report(REPORT, "github") == (
        "::error file=jobs/a%2C b.yaml,line=7,col=3::training.x: 100 %25 unknown\n"
        "::error file=jobs/a%2C b.yaml::--set seed=x: expected a whole number\n"
    )


def test_sarif_has_what_version_2_1_0_requires():
    log = json.loads(format_report(REPORT, "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "runjob"
    first, second = run["results"]
    assert first["message"]["text"] == "training.x: 100 % unknown"
    assert first["ruleId"] == run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "jobs/a%2C%20b.yaml"},
        "region": {"startLine": 7, "startColumn": 3},
    }
    assert "region" not in second["locations"][0]["physicalLocation"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_its_last_line(form):
    assert format_report(REPORT, form).endswith("\n")


def test_valid_files_leave_no_github_command_and_no_sarif_result():
    assert format_report({"a.yaml": []}, "github") == ""
    assert json.loads(format_report({"a.yaml": []}, "sarif"))["runs"][0]["results"] == []
