"""Files of tests/cases: the valid ones become jobs, each invalid one is answered with exactly the lines it says.

A new case is a new file: its `# expect:` comments hold `line:column: path: message`.
"""

from pathlib import Path

import pytest

from runjob.schemas.read import JobFileError, read_job

CASES = Path(__file__).parent.parent / "cases"
VALID = sorted((CASES / "valid").glob("*.yaml"))
INVALID = sorted((CASES / "invalid").glob("*.yaml"))
EXPECT = "# expect: "


def problems_of(path: Path) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        read_job(path)
    return str(caught.value).split("\n")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_file_becomes_a_job(path):
    resolved = read_job(path)
    assert resolved.job.name == resolved.values["name"]
    assert resolved.origins["name"].startswith(f"{path}:")


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_broken_file_is_answered_with_exactly_its_lines(path):
    text = path.read_text(encoding="utf-8")
    expected = [f"{path}:{line[len(EXPECT) :]}" for line in text.splitlines() if line.startswith(EXPECT)]
    assert expected, "say what is expected in comments of the form `# expect: 7:3: path: message`"
    assert problems_of(path) == expected


def test_there_are_fifty_broken_files_and_each_says_something_else():
    said = {path.read_text(encoding="utf-8").split(EXPECT)[1].partition(": ")[2] for path in INVALID}
    assert len(INVALID) >= 50
    assert len(said) == len(INVALID)


def test_ten_mistakes_give_exactly_ten_lines():
    assert len(problems_of(CASES / "invalid" / "ten_mistakes.yaml")) == 10
