"""Beginning at the billionth position of a large store costs what beginning at the tenth costs."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def test_a_billionth_position_is_reached_as_soon_as_the_tenth() -> None:
    """No more than 3 times as long, where reading up to it would take a hundred million times; best of 30 in turns."""
    argv = (sys.executable, "benchmarks/seek.py")
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^\| ([\d,]+) \| ([\d.]+) \|$", done.stdout, re.MULTILINE)
    best = {int(position.replace(",", "")): float(ms) for position, ms in found}
    assert done.stdout.startswith("1,250,000,000 rows")
    assert best[10**9] < 3 * best[10]
