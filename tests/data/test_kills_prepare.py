"""SIGKILL at moments of a whole preparation, of one process or two at the same store: a benchmark's driver, small."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_a_store_killed_at_any_moment_is_the_same_to_the_byte() -> None:
    argv = (sys.executable, "benchmarks/kills_prepare.py", "--trials", "6", "--seed", "3", "--megabytes", "1.5")
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| yes |") == 6
