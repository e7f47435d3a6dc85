"""The watcher of spot notices, as a process, against a metadata service on loopback."""

import os
import subprocess
import sys
from pathlib import Path

from runjob.launchers.spot_notice import POLL_S, spot_companion
from runjob.schemas.lifeline import ATTEMPT_VARIABLE, set_parent_death_signal
from runjob.schemas.run import read_json
from tests.cluster.ports import answers, free_port
from tests.conftest import wait_until
from tests.launchers.helpers import make_plan, make_run

SERVICE = Path(__file__).parent.parent / "cluster" / "imds_program.py"


def test_a_notice_becomes_a_request_to_stop_that_says_when_the_machine_goes(tmp_path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    port, notice, log = free_port(), tmp_path / "notice", attempt.stage_log("spot_notice")
    # A proxy that is not there: the metadata service is never asked through one
    environment = {
        **os.environ,
        ATTEMPT_VARIABLE: "1",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}",
        "http_proxy": "http://127.0.0.1:9",
    }
    argv = spot_companion().located(run=str(run.path), python=sys.executable).argv
    with log.open("w") as file:
        watcher = subprocess.Popen(argv, env=environment, stdout=file)
    service = None
    try:
        wait_until(lambda: "can't be asked" in log.read_text(), what="the watcher to miss the service")
        service = subprocess.Popen([sys.executable, SERVICE, str(port), notice], preexec_fn=set_parent_death_signal)
        wait_until(lambda: answers(port), what="the service")
        # its first token is forgotten at once, so this takes two looks
        wait_until(lambda: "there is no notice" in log.read_text(), what="an answer", within_s=20 + 2 * POLL_S)
        assert watcher.poll() is None
        assert not attempt.stop_request.exists()
        notice.write_text('{"action": "terminate", "time": "2026-11-21T22:00:00Z"}')
        assert watcher.wait(timeout=20) == 0
    finally:
        for process in filter(None, (watcher, service)):
            process.kill()
            process.wait()
    assert attempt.stop_reason() == "preempt"
    assert read_json(attempt.stop_request)["note"] == "spot interruption at 2026-11-21T22:00:00Z"
    assert log.read_text().count("can't be asked") <= 2  # said when it changes, not at every look
