"""A word to one's own log, as a process says it."""

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = "import sys; from runjob.schemas.own_log import say; say('one'); say('two'); sys.stderr.write('goes on')"


def test_a_line_has_its_time_and_is_there_at_once(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        subprocess.run([sys.executable, "-c", PROGRAM + "; import os; os._exit(0)"], stdout=file, check=True)
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in log.read_text().splitlines()] == [
        "one",
        "two",
    ]


def test_a_full_disk_swallows_the_line_and_neither_the_program_nor_its_exit_code():
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-c", PROGRAM + "; sys.exit(3)"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.stderr, done.returncode) == ("goes on", 3)
