"""Files made to fill memory or time get a line, soon. (Aliases and levels: test_yaml.py.)"""

import time
from pathlib import Path

import pytest

from runjob.schemas.check import MAX_SUGGESTIONS
from runjob.schemas.read import JobFileError, read_job

BASE = (Path(__file__).parent.parent / "cases" / "valid" / "everything.yaml").read_text(encoding="utf-8")
PROMPTS = 'prompts: ["no", "De computer: "]'
# Ten times what they take on a slow machine; without the limits some of these take minutes
SOON_S = 10.0

TEXTS = {
    "unknown keys": (BASE + "".join(f"trainin{i}: 1\n" for i in range(20_000)), 20_000),
    "one key again and again": (BASE + "seed: 1\n" * 20_000, 20_000),
    "wrong items": (BASE.replace(PROMPTS, "prompts: [" + "1," * 40_000 + "]"), 40_000),
    "an endless word": (BASE.replace("documents: paragraph", "documents: " + "p" * 900_000), 1),
    "an endless number": (BASE.replace("seed: 7", "seed: " + "9" * 900_000), 1),
    "an endless amount": (BASE.replace("1.5 epochs", "9" * 900_000 + " epochs"), 1),
    "an endless key": (BASE + "? " + "x" * 900_000 + "\n: 1\n", 1),
    "brackets": ("[" * 1_000_000, 1),
    "quotes": ("'" * 1_000_000, 1),
    "colons": (":" * 1_000_000, 1),
    "documents": ("---\n" * 200_000, 1),
    "comments": ("#\n" * 500_000, 1),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_file_is_answered_soon_and_shortly(name, tmp_path):
    text, problems = TEXTS[name]
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(JobFileError) as caught:
        read_job(path)
    assert time.monotonic() - started < SOON_S
    assert len(caught.value.problems) == problems
    assert max(len(str(problem)) for problem in caught.value.problems) < 500 + len(str(path))


def test_suggestions_stop_but_lines_do_not(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(BASE + "".join(f"trainin{i}: 1\n" for i in range(300)), encoding="utf-8")
    with pytest.raises(JobFileError) as caught:
        read_job(path)
    said = [problem.message for problem in caught.value.problems]
    assert [message.endswith("did you mean `training`?") for message in said].count(True) == MAX_SUGGESTIONS
    assert len(said) == 300
