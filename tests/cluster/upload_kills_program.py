"""Uploads the same small run again and again, killed at each of its writes in turn, and once not at all. A program of
its own, so that Python starts once for all of them: `python upload_kills_program.py FOLDER`; case N lies in FOLDER/N.

Before each there is step 7 at the remote; brought is step 14, for which 7 is pruned. Prints the number of kills."""

import os
import shutil
import signal
import sys
from pathlib import Path

from runjob.runner.worker.faults import VARIABLE
from runjob.runner.worker.upload import main
from runjob.schemas.lifeline import ATTEMPT_VARIABLE
from runjob.schemas.run import RunDir
from tests.cluster.remote_runs import end, make_run, save


def upload(run: RunDir, fault: str) -> int:
    """In a process that may be killed; how it ended."""
    child = os.fork()
    if child == 0:
        os.environ |= {ATTEMPT_VARIABLE: "1", VARIABLE: fault}
        log = os.open(run.attempt(1).stage_log("upload"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os._exit(main(run))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


folder, kill = Path(sys.argv[1]), 0
base, place = folder / "base", folder / "now"
run = make_run(base / "runs", f"file://{place}/far", keep=1)
save(run, 7, weights=1)
end(run, "preempted", "saved")
base.rename(place)
run = RunDir(place / "runs" / run.id)
assert upload(run, "") == 0
save(run, 14, weights=1)
place.rename(base)
while True:
    kill += 1
    shutil.copytree(base, place)
    code = upload(run, f"remote-write@{kill}")
    place.rename(folder / str(kill))
    if code == 0:
        break
    assert code == -signal.SIGKILL
print(kill - 1)
