"""The first few hundred of the hundred thousand broken and hostile job files (docs/reliability.md has all of them)."""

import json
import subprocess
import sys

from benchmarks.fuzz_files import PIECE, make_piece
from tests.conftest import ROOT, clean_environment


def test_a_few_hundred_broken_job_files_are_answered_shortly_soon_and_with_their_places():
    """In a process of its own, which limits its memory and is ended where it hangs."""
    argv = [sys.executable, "-m", "benchmarks.fuzz", "--seed", "20261122", "--piece", "0"]
    done = subprocess.run(argv, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["found"] == []
    assert sum(result["counts"].values()) == PIECE
    assert {name.partition(":")[0] for name in result["counts"]} == {
        *("from the schema", "changed", "misspelt", "built to hurt")
    }
    assert result["counts"]["from the schema: valid"] > 4
    assert result["problems"] > PIECE


def test_a_file_is_a_function_of_its_number():
    assert list(make_piece(7, 3, 12)) == list(make_piece(7, 3, 40))[:12]
