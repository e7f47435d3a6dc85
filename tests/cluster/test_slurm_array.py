"""The cells of a matrix as one array on the real Slurm: each with its own run directory, its own turn and its own
requeue."""

from collections.abc import Iterator

import pytest

from runjob.launchers.base import Start
from runjob.launchers.slurm import SlurmLauncher
from runjob.schemas.plan import Plan
from runjob.schemas.run import read_json
from tests.cluster.slurm_cluster import Cluster
from tests.cluster.slurm_jobs import Bench, job_of
from tests.conftest import wait_until
from tests.launchers.helpers import steps_done

GROUP = "small-0a1b2c3d"


@pytest.fixture
def bench(cluster: Cluster, tmp_path, monkeypatch) -> Iterator[Bench]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.folder / "slurm.conf"))
    home = cluster.shared / tmp_path.name
    home.mkdir()
    yield Bench(cluster=cluster, home=home, launcher=SlurmLauncher())


def test_cells_of_one_request_are_one_array_and_each_is_requeued_by_itself(bench: Bench):
    one_at_a_time = "hardware.slurm.array_parallelism=1"
    made = [bench.make("long", one_at_a_time), bench.make("finish", one_at_a_time), bench.make("finish")]
    plans = [Plan.read(run.plan) for run, _ in made]
    starts = [Start(run=run, plan=plan, attempt=attempt) for (run, attempt), plan in zip(made, plans, strict=True)]
    bench.launcher.submit_together(GROUP, starts)
    first, second, other = (run for run, _ in made)
    number = job_of(first).removesuffix("_0")
    # the third asks for something else, if only for another limit: a job of its own
    assert (job_of(second), "_" in job_of(other)) == (f"{number}_1", False)
    bench.wait_for_step(first, 3)
    assert "JobArrayTaskLimit" in bench.wait_for(second, "pending").message
    assert f"job {number}_1" in bench.state(second).message
    bench.cluster.run("scontrol", "requeue", job_of(first))
    assert bench.wait_for(second, "finished").message == "all steps done"
    before = steps_done(first)
    wait_until(lambda: steps_done(first) > before, within_s=60, what="the first cell to go on")
    assert bench.wait_for(first, "running", attempt=2).attempt == 2
    assert read_json(first.attempt(2).path / "resume.json")["after"] == "preempted"
    assert [attempt.number for attempt in second.list_attempts()] == [1]
    bench.launcher.cancel(first, first.attempt(2))
    assert bench.wait_for(first, "cancelled", attempt=2).message == "saved"
    assert bench.wait_for(other, "finished").message == "all steps done"
