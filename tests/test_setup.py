"""What stands between a bare clone and `make run`: the system check, the pinned versions, the stamps of make."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH on which only the shell's own tools stand."""
    for program in ("bash", "env", "basename"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    return tmp_path


def check_system(path: Path, python: str) -> "subprocess.CompletedProcess[str]":
    argv = [ROOT / "scripts" / "check_system.sh", python]
    return subprocess.run(argv, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def test_everything_missing_is_named_at_once_with_its_apt_line(bare):
    answer = check_system(bare, "python3")
    assert answer.returncode == 2
    assert re.findall(r"sudo apt-get install -y (.*)", answer.stderr) == [
        "python3 python3-venv python3-dev",
        "make",
        "g++",
    ]


def fake_python(path: Path, version: str, fails: str) -> None:
    """An interpreter that answers its version and fails the question that holds the word `fails`."""
    program = path / "python3.12"
    program.write_text(f'#!/bin/bash\ncase "$2" in *version_info*) echo {version};; *{fails}*) exit 1;; esac\n')
    program.chmod(0o755)


@pytest.mark.parametrize(("fails", "package"), [("ensurepip", "python3.12-venv"), ("Python.h", "python3.12-dev")])
def test_a_missing_part_of_python_is_named_for_that_python(bare, fails, package):
    for program in ("make", "g++"):
        (bare / program).symlink_to("/bin/true")
    fake_python(bare, "3.12", fails)
    answer = check_system(bare, "python3.12")
    assert answer.returncode == 2
    assert re.findall(r"sudo apt-get install -y (.*)", answer.stderr) == [package]


def test_another_python_is_refused_by_its_version(bare):
    for program in ("make", "g++"):
        (bare / program).symlink_to("/bin/true")
    fake_python(bare, "3.10", "nothing")
    answer = check_system(bare, "python3.12")
    assert answer.returncode == 2
    assert "is Python 3.10; runjob needs 3.11 or 3.12" in answer.stderr


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in pins}


def test_every_package_that_we_name_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    packages = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ]", one)[0]).lower() for one in named}
    assert packages - set(pinned()) == set()


def test_no_pin_asks_for_one_build_of_a_package():
    assert all("+" not in version for version in pinned().values())
    assert not [package for package in pinned() if package.startswith(("nvidia-", "cuda-", "triton"))]


def test_every_pin_but_two_has_hashes_and_no_other_version_has_any():
    """torch comes in builds that other indexes keep, DeepSpeed is built where it is installed."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    hashes = {words[0]: words[1:] for words in lines}
    assert all(
        found and all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", one) for one in found) for found in hashes.values()
    )
    locked = dict(name.split("==") for name in hashes)
    locked = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    assert locked == {name: version for name, version in pinned().items() if name not in ("torch", "deepspeed")}


@pytest.mark.parametrize(("hashes", "first"), [("", "pip install torch"), ("HASHES=1", "--require-hashes --no-deps")])
def test_hashes_are_asked_for_by_a_word_and_come_before_everything_else(tmp_path, hashes: str, first: str):
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".created").touch()
    argv = ["make", "--dry-run", "install", *hashes.split()]
    asked = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert first in next(line for line in asked.splitlines() if "pip install" in line)
    assert "HASHES=1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_second_make_installs_nothing(tmp_path):
    """With the stamps in place make only runs; an edited constraints.txt brings pip back."""
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
        os.utime(tmp_path / file, (1, 1))
    (tmp_path / ".venv").mkdir()
    for stamp in (".created", ".installed", ".installed-dev"):
        (tmp_path / ".venv" / stamp).touch()

    def asked(target: str) -> str:
        argv = ["make", "--dry-run", target, f"PYTHON={sys.executable}"]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "pip" not in asked("run") + asked("test")
    assert "runjob jobs/tiny/gpt2_dutch.yaml" in asked("run")
    (tmp_path / "constraints.txt").touch()
    os.utime(tmp_path / ".venv" / ".installed", (2, 2))
    assert "pip install --editable '.[report]'" in asked("run")
