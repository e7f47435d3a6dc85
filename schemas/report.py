"""What `runjob validate` prints: one list of problems a file, in the form that the reader wants."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from runjob.schemas.problems import Problem

Format = Literal["text", "json", "github", "sarif"]
FORMATS: tuple[Format, ...] = get_args(Format)

# file as given -> its problems; an empty list is a valid file
Report = Mapping[str, Sequence[Problem]]


def format_report(report: Report, form: Format) -> str:
    """The whole report, ending in a line break; a file's name that is not UTF-8 is shown with `?` for what is not."""
    match form:
        case "text":
            text = text_report(report)
        case "json":
            text = json_report(report)
        case "github":
            text = github_report(report)
        case "sarif":
            text = sarif_report(report)
    return text.encode("utf-8", "replace").decode("utf-8")


def text_report(report: Report) -> str:
    """A line a problem, and a line for each valid file."""
    lines = [
        line for file, problems in report.items() for line in (map(str, problems) if problems else [f"{file}: valid"])
    ]
    return "".join(f"{line}\n" for line in lines)


def json_report(report: Report) -> str:
    files = [
        {"file": file, "valid": not problems, "problems": [vars(problem) for problem in problems]}
        for file, problems in report.items()
    ]
    return json.dumps({"valid": all(not problems for problems in report.values()), "files": files}, indent=2) + "\n"


def github_report(report: Report) -> str:
    """Workflow commands, which GitHub shows beside the line of a pull request; nothing for valid files."""
    return "".join(
        f"::error {_github_place(file, problem)}::{_escape_data(_said(problem))}\n"
        for file, problems in report.items()
        for problem in problems
    )


def _github_place(file: str, problem: Problem) -> str:
    if not problem.line:
        return f"file={_escape_property(file)}"
    return f"file={_escape_property(problem.file)},line={problem.line},col={problem.column}"


def _said(problem: Problem) -> str:
    """The message with what the place can't say: the dotted path, and the argument where --set is to blame."""
    if not problem.line:
        return str(problem)
    return f"{problem.path}: {problem.message}" if problem.path else problem.message


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def sarif_report(report: Report) -> str:
    """SARIF 2.1.0, one run, one result a problem."""
    results = [_sarif_result(file, problem) for file, problems in report.items() for problem in problems]
    rule = {
        "id": "job-file",
        "shortDescription": {"text": "A job file that runjob refuses"},
        "defaultConfiguration": {"level": "error"},
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "runjob", "rules": [rule]}},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _sarif_result(file: str, problem: Problem) -> dict[str, Any]:
    from urllib.parse import quote  # 10 ms, and only this format needs it

    # what may stand in an address as it is: a `:` before the first slash would make a scheme of what precedes it
    name = os.fsencode(problem.file if problem.line else file)
    location: dict[str, Any] = {"artifactLocation": {"uri": quote(name)}}
    if problem.line:
        location["region"] = {"startLine": problem.line, "startColumn": problem.column}
    return {
        "ruleId": "job-file",
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": _said(problem)},
        "locations": [{"physicalLocation": location}],
    }
