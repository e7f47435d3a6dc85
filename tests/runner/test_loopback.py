"""A network namespace without a loopback is put right, or named, before anything waits for it."""

import subprocess
import sys

import pytest

PROGRAM = (
    "from runjob.runner.loopback import answers, missing_loopback; print(answers(), missing_loopback(), answers())"
)


def unshared(*flags: str) -> str:
    argv = ("unshare", "--net", *flags, sys.executable, "-c", PROGRAM)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no network namespace to be had here: {done.stderr.strip()}")
    return done.stdout.strip()


def test_a_loopback_that_is_down_is_brought_up() -> None:
    assert unshared("--map-root-user") == "False [] True"


def test_here_nothing_is_missing() -> None:
    done = subprocess.run((sys.executable, "-c", PROGRAM), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True [] True"
