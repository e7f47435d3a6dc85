"""Processes that die with the one that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from runjob.schemas.lifeline import SUPERVISOR_VARIABLE, supervisor_alive
from runjob.schemas.processes import descendants, own_start_time, process_alive, read_process
from tests.conftest import wait_until
from tests.launchers.helpers import is_alive

TIED = "from runjob.schemas.lifeline import die_with_parent; die_with_parent(); import time; print(1, flush=True); "


def test_a_process_is_told_from_a_later_one_with_its_pid():
    assert process_alive(os.getpid(), own_start_time())
    assert not process_alive(os.getpid(), own_start_time() + 1)
    assert not process_alive(2**22 + 1, 0)


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = read_process(child.pid)
    wait_until(lambda: (facts := read_process(child.pid)) is not None and facts.zombie, what="a zombie")
    assert not process_alive(child.pid, started.start_time)
    child.wait()


def test_a_name_with_brackets_and_spaces_hides_no_field(tmp_path: Path):
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([odd, "60"])
    facts = read_process(child.pid)
    assert (facts.parent, facts.zombie) == (os.getpid(), False)
    child.kill()
    child.wait()


def test_a_process_whose_supervisor_is_gone_ends_at_its_first_line():
    gone = {**os.environ, SUPERVISOR_VARIABLE: f"{os.getpid()} {own_start_time() + 1}"}
    done = subprocess.run([sys.executable, "-c", TIED], env=gone, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


def test_a_process_without_a_supervisor_lives():
    assert SUPERVISOR_VARIABLE not in os.environ
    assert supervisor_alive()
    assert subprocess.run([sys.executable, "-c", TIED], stdout=subprocess.PIPE).stdout == b"1\n"


def test_a_tied_process_dies_with_its_parent():
    program = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {TIED + 'time.sleep(60)'!r}], "
    program += "stdout=subprocess.PIPE); p.stdout.read(1); print(p.pid, flush=True); import time; time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    assert [facts.pid for facts in descendants(parent.pid)] == [child]
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_alive(child), what="the child's end", within_s=5)


ENDING = """\
import subprocess, sys
from runjob.launchers.tree import end_descendants
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
print(end_descendants(child.pid, grace_s=0.2), child.wait())
"""


def test_ending_descendants_takes_the_deaf_ones_too_and_leaves_the_exit_code():
    """In a process of its own: here it would end the daemons of other tests as well, as it once did."""
    done = subprocess.run([sys.executable, "-c", ENDING], stdout=subprocess.PIPE, text=True, timeout=30)
    assert done.stdout.split() == ["1", str(-signal.SIGKILL)]
