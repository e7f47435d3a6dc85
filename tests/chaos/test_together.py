"""Two who want the same at once, also where the file system carries no locks; and a clock that was set back."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir
from tests.chaos.conftest import LOCAL
from tests.conftest import rewrite, wait_until

ROUNDS = 2


def answers(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out + err


@pytest.mark.parametrize("locks", [True, False])
def test_of_resumes_at_once_one_goes_on_and_no_attempt_is_made_twice(
    stopped: RunDir, small, plugin, processes, shim, locks: bool
):
    env = {**plugin, "SMALL": "pause"} | ({} if locks else shim(CHAOS_NO_LOCKS="1"))
    for number in range(ROUNDS):
        command = ("runjob", "resume", stopped.id, *LOCAL)
        ended = [answers(process) for process in [processes.start(*command, env=env) for _ in range(2)]]
        codes = [code for code, _ in ended]
        assert set(codes) <= {75, 2} and 75 in codes, ended
        # each who went on made an attempt of its own, one after the other, and says how it ended
        made = [attempt.number for attempt in stopped.list_attempts()]
        assert made == list(range(1, len(made) + 1)), number
        assert all(stopped.attempt(one).read_exit() for one in made[2:])
        assert stopped.read_status().state == "preempted"
        assert stopped.read_status().attempt == made[-1]


def test_a_cancel_and_a_resume_at_once_leave_a_run_that_is_one_or_the_other(stopped: RunDir, small, plugin, processes):
    small("pause", "resume", stopped.id, *LOCAL)
    for _ in range(ROUNDS):
        env = {**plugin, "SMALL": "long"}
        resume = processes.start("runjob", "resume", stopped.id, *LOCAL, "--detach", env=env)
        cancels = [processes.start("runjob", "cancel", stopped.id, env=plugin) for _ in range(2)]
        (resumed, _), *cancelled = [answers(process) for process in (resume, *cancels)]
        assert resumed in (0, 2)
        assert [code for code, _ in cancelled] == [0, 0] or any("somebody else" in said for _, said in cancelled)
        small("", "cancel", stopped.id)
        wait_until(lambda: stopped.read_status().state == "cancelled", what="it to be cancelled")


def test_without_locks_one_prepares_and_what_a_dead_one_left_is_taken_away(tmp_path: Path, processes, shim):
    held = tmp_path / "stores" / "one.lock"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom runjob.data.locks import only_one\n"
        "with only_one(Path(sys.argv[1]), waiting=lambda owner: print('waits', owner, flush=True)):\n"
        "    print('has it', flush=True)\n    time.sleep(float(sys.argv[2]))\n"
    )
    env = shim(CHAOS_NO_LOCKS="1")
    first = processes.start(sys.executable, "-c", program, held, "600", env=env)
    assert first.stdout.readline() == "has it\n"
    second = processes.start(sys.executable, "-c", program, held, "0", env=env)
    assert f'"pid": {first.pid}' in second.stdout.readline()
    first.kill()
    assert "has it" in second.communicate(timeout=20)[0]
    assert sorted(path.name for path in held.parent.iterdir()) == ["one.lock"]


def test_a_clock_that_was_set_back_keeps_nobody_waiting(stopped: RunDir, small, home):
    hour_ahead = time.time() + 3600
    stopped.write_status("pending", attempt=2)
    rewrite(stopped.status, updated=hour_ahead)
    stopped.handle.unlink()
    assert json.loads(small("", "status", stopped.id, "--json").stdout)["state"] == "lost"
    left = stopped.attempts / "3"
    left.mkdir()
    os.utime(left, (hour_ahead, hour_ahead))
    assert small("exact", "resume", stopped.id, *LOCAL).returncode == 0
