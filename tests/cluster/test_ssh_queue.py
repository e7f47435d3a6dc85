"""The cells of a matrix on a host over a real sshd: begun one after the other by the queue here, brought home as they
end, and gone on with when the queue was killed in between."""

import os
import signal

import pytest

from runjob.schemas.group import GroupDir
from runjob.schemas.run import RunDir, read_json
from tests.cluster.ssh_bench import SshBench, make_bench, train_steps
from tests.cluster.sshd_host import SshHost, write_client
from tests.conftest import Home, Processes, wait_until


@pytest.fixture
def bench(home: Home, processes: Processes, host: SshHost) -> SshBench:
    made = make_bench(home, processes, host, write_client)
    made.job.with_name("sweep.yaml").write_text(
        "extends: small.yaml\nmatrix: {training.learning_rate: [1e-3, 5e-4, 1e-4]}\n"
    )
    return made


def test_cells_go_to_the_host_at_their_turn_and_a_killed_queue_loses_none(bench: SshBench) -> None:
    sweep = bench.job.with_name("sweep.yaml")
    begun = bench.runjob(sweep, *bench.words(), "--detach", small="exact")
    assert begun.returncode == 0, begun.stderr
    [path] = (bench.home.runs / "groups").iterdir()
    group = GroupDir(path)
    cells = group.runs()
    wait_until(lambda: len(begun_cells(cells)) == 2, what="the second cell's turn", within_s=60)
    assert len(train_steps(cells[0])) == 20, "what the first made is at home before the second begins"
    os.kill(read_json(group.queue)["pid"], signal.SIGKILL)
    left = bench.runjob("status", group.id)
    assert left.stdout.splitlines()[3].split()[2] == "lost", left.stdout
    again = bench.runjob("resume", group.id, small="exact")
    assert again.returncode == 0, again.stdout + again.stderr
    for cell in cells:
        assert bench.look(cell)["state"] == "finished"
        assert train_steps(cell) == list(range(1, 21))
        assert (cell.model / "model.safetensors").is_file()
        assert len(cell.list_attempts()) == 1


def begun_cells(cells: list[RunDir]) -> list[RunDir]:
    return [cell for cell in cells if cell.read_status().state != "pending"]
