"""Two nodes that are apart, on this machine: their supervisors hold a line, and each knows when the other ends."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.local import LocalLauncher
from runjob.launchers.node_line import HeadLine, HelperLine
from runjob.launchers.nodes import free_port
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import Attempt, RunDir
from tests.launchers.helpers import make_plan, wait_for_state, wait_until

SMALLEST = Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml"
CALL = {"run": "small-00000000", "attempt": 1}


def copy_of_run(home: Path, plan: Plan) -> tuple[RunDir, Attempt]:
    """What a launcher has put on one of the hosts."""
    run = RunDir(home / "small-00000000")
    run.checkpoints.mkdir(parents=True)
    plan.write(run)
    write_job_json(run.job, read_job(SMALLEST, ["hardware.ssh={host: [gpu0, gpu1]}", "hardware.nodes=2"]))
    attempt = Attempt(run.attempts / "1")
    attempt.path.mkdir(parents=True)
    run.write_status("pending", attempt=1)
    return run, attempt


def plan_of(train: str, prepare: str | None = None) -> Plan:
    plan = json.loads(make_plan(train, prepare=prepare).to_json())
    return Plan.from_json(json.dumps({**plan, "resources": {**plan["resources"], "nodes": 2}}))


def start_both(tmp_path: Path, head: Plan, helper: Plan) -> list[RunDir]:
    """The other one first, as the launcher does."""
    port = free_port()
    runs = []
    for node, plan in ((1, helper), (0, head)):
        run, attempt = copy_of_run(tmp_path / f"gpu{node}", plan)
        post = ["--master", "127.0.0.1", "--port", str(port), "--apart", "1", "--node", str(node)]
        LocalLauncher(post).submit(run, plan, attempt)
        runs.append(run)
    return list(reversed(runs))


def supervisor_of(run: RunDir) -> int:
    return int(json.loads(run.handle.read_text())["pid"])


def log_of(run: RunDir) -> str:
    return run.attempt(1).supervisor_log.read_text()


def test_a_supervisor_that_is_killed_is_missed_within_seconds_and_named_by_its_host(tmp_path: Path):
    """While the data are prepared: the ranks have not met, and nobody else would notice."""
    head, helper = start_both(tmp_path, plan_of("finish", "sleep"), plan_of("finish", "sleep"))
    wait_until(lambda: "node 1 has called" in log_of(head), what="the call")
    began = time.monotonic()
    os.kill(supervisor_of(helper), signal.SIGKILL)
    status = wait_for_state(head, "failed")
    assert time.monotonic() - began < 8
    assert status.message == "node 1 (gpu1) is gone without a word: its supervisor was killed, or its machine is down"


def test_the_other_node_ends_when_the_first_is_killed(tmp_path: Path):
    head, helper = start_both(tmp_path, plan_of("finish", "sleep"), plan_of("finish", "sleep"))
    wait_until(lambda: "called node 0" in log_of(helper), what="the call")
    os.kill(supervisor_of(head), signal.SIGKILL)
    assert wait_for_state(helper, "failed").message == "node 0 (gpu0) is gone"


def test_a_failure_on_the_other_node_is_told_in_its_own_words(tmp_path: Path):
    head, helper = start_both(tmp_path, plan_of("finish", "sleep"), plan_of("finish", "crash"))
    message = wait_for_state(head, "failed").message
    assert message.startswith("node 1 (gpu1) failed: stage prepare ended with code 3; see ")
    assert message.endswith("prepare.log")
    assert helper.read_status().state == "failed"


def test_nodes_that_end_well_end_nobody(tmp_path: Path):
    head, helper = start_both(tmp_path, plan_of("finish"), plan_of("nothing"))
    assert wait_for_state(helper, "finished").message == "the share of node 1 ended with code 0"
    assert wait_for_state(head, "finished").message == "all steps done"


def test_a_taken_port_is_said_before_anything_is_started(tmp_path: Path):
    run, attempt = copy_of_run(tmp_path, plan_of("finish"))
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        post = ["--master", "127.0.0.1", "--port", str(port - 1), "--apart", "1"]
        LocalLauncher(post).submit(run, plan_of("finish"), attempt)
        message = wait_for_state(run, "failed").message
    assert message.startswith(f"can't listen at port {port}, which the other nodes call: ")
    assert message.endswith("hardware.ssh.master_port names the one before it")


@pytest.fixture
def head() -> Iterator[HeadLine]:
    line = HeadLine(hosts=("gpu0", "gpu1", "gpu2"), port=free_port(), call=CALL)
    yield line
    line.close("finished", "")


def test_who_never_calls_is_named_with_what_may_be_wrong(head: HeadLine):
    caller = HelperLine(head="gpu0", master="127.0.0.1", port=head.port, call=CALL | {"node": 1})
    caller.look()
    wait_until(lambda: head.look() or head.missing == {2}, what="node 1")
    assert head.failure() == ""
    head.until = 0.0
    assert head.failure() == (
        f"node 2 (gpu2) has not called port {head.port} of the first host within 60 s "
        "(hardware.ssh.master_address, master_port)"
    )
    caller.close("finished", "")


def test_a_call_and_a_last_word_that_come_together_are_both_heard(head: HeadLine):
    caller = HelperLine(head="gpu0", master="127.0.0.1", port=head.port, call=CALL | {"node": 1})
    caller.close("failed", "out of memory")
    wait_until(lambda: head.look() or bool(head.failure()), what="the last word")
    assert head.failure() == "node 1 (gpu1) failed: out of memory"


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"run": "other-00000000", "attempt": 1, "node": 1}\n', b"x" * 90000]
)
def test_a_stranger_who_calls_and_hangs_up_harms_nothing(head: HeadLine, said: bytes):
    with socket.create_connection(("127.0.0.1", head.port)) as stranger:
        stranger.sendall(said)
    known = HelperLine(head="gpu0", master="127.0.0.1", port=head.port, call=CALL | {"node": 1})
    known.look()
    wait_until(lambda: head.look() or head.missing == {2}, what="the one who called after the stranger")
    assert (head.failure(), head.strangers) == ("", [])
    known.close("finished", "")
