"""Real training on the real Slurm, through the installed `runjob`: from a home that no node sees, on one node and on
two, with the losses of the same job anywhere else."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.slurm_cluster import Cluster
from tests.conftest import make_home, run_script, wait_until
from tests.end_to_end.conftest import assert_same_run, flags, losses, progress, records, write_job

pytestmark = pytest.mark.slow

EVEN = (
    "model.init.dropout=0",
    "training.length=8 steps",
    "training.checkpoint.every=4 steps",
    "evaluation.every=4 steps",
)


class Desk:
    """A home of its own on the login machine; what it starts runs on the cluster."""

    def __init__(self, folder, cluster: Cluster) -> None:
        self.cluster = cluster
        self.home = make_home(folder)
        self.job = write_job(self.home.path)
        self.env = {"SLURM_CONF": str(cluster.folder / "slurm.conf")}
        self.followers: list[subprocess.Popen[str]] = []

    def runjob(self, *words: object, timeout_s: float = 200) -> "subprocess.CompletedProcess[str]":
        return run_script(self.home, *words, env=self.env, timeout_s=timeout_s)

    def words(self, launcher: str, *sets: str) -> list[str]:
        folder = f"hardware.slurm.folder={self.cluster.shared}/it's $(touch x); here"
        return [
            "--launcher",
            launcher,
            str(self.job),
            *flags((folder, f"hardware.slurm.python={self.cluster.python}", *sets)),
        ]

    def train(self, *sets: str, launcher: str = "slurm") -> RunDir:
        done = self.runjob(*self.words(launcher, *sets))
        assert done.returncode == 0, done.stdout + done.stderr
        return RunDir(self.home.runs / done.stdout.splitlines()[0])

    def follow(self, *sets: str) -> "subprocess.Popen[str]":
        follower = subprocess.Popen(
            ["runjob", *self.words("slurm", *sets)],
            env={**self.home.env, **self.env},
            cwd=self.home.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.followers.append(follower)
        return follower

    def end(self) -> None:
        """A follower that a failed test left behind would be a warning in somebody else's test."""
        for follower in self.followers:
            follower.kill()
            follower.communicate()


@pytest.fixture
def desk(cluster: Cluster, tmp_path) -> Iterator[Desk]:
    desk = Desk(tmp_path, cluster)
    yield desk
    desk.end()


@pytest.mark.nightly
def test_two_nodes_of_two_ranks_have_the_losses_of_one_node_of_four(desk: Desk):
    four = desk.train(*EVEN, "training.micro_batch=2", "hardware.ranks=4", "hardware.zero=1")
    for zero in (1, 2):
        nodes = ("hardware.ranks=2", "hardware.nodes=2", f"hardware.zero={zero}")
        two = desk.train(*EVEN, "training.micro_batch=2", *nodes)
        assert [one["batch"] for one in records(two, "train")] == [one["batch"] for one in records(four, "train")]
        assert losses(two) == pytest.approx(losses(four), rel=1e-4)
        assert len(losses(two)) == 8


def test_from_a_home_that_no_node_sees_a_requeued_training_goes_on_bit_for_bit_and_its_follower_with_it(desk: Desk):
    sets = ("training.length=40 steps", "training.checkpoint.every=10 steps")
    straight = desk.train(*sets, launcher="local")
    follower = desk.follow(*sets)
    run = RunDir(desk.home.runs / follower.stdout.readline().strip())
    wait_until(lambda: progress(run) >= 1, within_s=90, what="step 1")
    job = str(read_json(run.handle)["job"])
    for attempt, step, order in ((1, 5, ("scancel", "--signal=USR2")), (2, 15, ("scontrol", "requeue"))):
        # progress.json alone does not say that it runs: it stands there from before the job was queued again
        wait_until(
            lambda number=attempt, at=step: run.read_status().attempt == number and progress(run) >= at,
            within_s=90,
            what=f"step {step} of attempt {attempt}",
        )
        desk.cluster.run(*order, job)
        wait_until(lambda: desk.cluster.jobs()[job] == "PENDING", within_s=40, what="the job to be in the queue again")
    said, _ = follower.communicate(timeout=200)
    assert follower.returncode == 0, said
    assert f"{run.id} is finished" in said
    assert [attempt.number for attempt in run.list_attempts()] == [1, 2, 3]
    assert_same_run(straight, run)
    shown = json.loads(desk.runjob("status", run.id, "--json").stdout)
    assert (shown["state"], shown["attempt"], shown["launcher"]) == ("finished", 3, "slurm")
    # the name of the folder was read by no shell, and what submitit pickled is a name and words
    assert not list(desk.home.path.glob("x")) + list(desk.cluster.shared.rglob("x"))
    pickles = list(desk.cluster.shared.rglob("*_submitted.pkl"))
    assert {b"stand_by" in pickle.read_bytes() for pickle in pickles} == {True}
