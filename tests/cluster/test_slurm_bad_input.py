"""What a user can get wrong with Slurm: said before anything is submitted where it can be known, else soon after."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runjob.schemas.run import RunDir, read_json
from tests.cluster.slurm_cluster import Cluster
from tests.cluster.slurm_jobs import small_slurm_job
from tests.conftest import Home, run_script, wait_until

Submit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def submit(cluster: Cluster, home: Home) -> Submit:
    """`submit("hardware.slurm.partition=x")`: the command line on the login machine, from a home that no node sees."""
    (home.path / "text.txt").write_text("een twee drie\n")
    job = home.path / "small.yaml"
    job.write_text(small_slurm_job(cluster))

    def run(*sets: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        folder = f"hardware.slurm.folder={cluster.shared}/jobs"
        words = [word for one in (folder, *sets) for word in ("--set", one)]
        here = {"SLURM_CONF": str(cluster.folder / "slurm.conf"), **(env or {})}
        return run_script(home, "--launcher", "slurm", "--detach", job, *words, env=here, timeout_s=60)

    return run


def state_of(home: Home, cluster: Cluster) -> dict[str, str]:
    env = {"SLURM_CONF": str(cluster.folder / "slurm.conf")}
    shown: dict[str, str] = json.loads(run_script(home, "status", "latest", "--json", env=env).stdout)
    return shown


def test_everything_that_the_partition_lacks_is_said_at_once_and_nothing_is_submitted(submit, home: Home, cluster):
    before = cluster.jobs()
    wishes = ("device=cuda", "gpus=3", "nodes=5", "memory=64GiB", "time=48:00:00")
    done = submit(*(f"hardware.{wish}" for wish in wishes), "training.global_batch=15", "training.micro_batch=1")
    assert done.returncode == 2, done.stdout + done.stderr
    for line in (
        "hardware.gpus: the job asks for 3 on each node, and the nodes of partition main have 2",
        "hardware.nodes: the job asks for 5, and there are 2 in partition main",
        "hardware.memory: 64GiB, and the nodes of partition main have 8192 MiB",
        "hardware.time: 48:00:00, and partition main allows 1-00:00:00",
    ):
        assert line in done.stderr, done.stderr
    assert cluster.jobs() == before
    assert list(home.runs.iterdir()) == []


def test_a_partition_that_is_not_there_is_answered_with_those_that_are(submit):
    done = submit("hardware.slurm.partition=gpu")
    assert done.returncode == 2
    assert "hardware.slurm.partition: gpu: no such partition; there are: high, main" in done.stderr


def test_a_container_needs_a_plugin_that_this_cluster_has_not(submit):
    done = submit("hardware.slurm.container_image=/images/train.sqsh")
    assert done.returncode == 2
    assert "this cluster's srun has no --container-image, which Pyxis with Enroot brings" in done.stderr


def test_without_slurm_here_the_way_to_it_is_said(submit, home: Home):
    venv = home.env["PATH"].split(os.pathsep)[0]
    done = submit(env={"PATH": venv})
    assert done.returncode == 2
    assert "sbatch, srun, squeue, scancel, sinfo, scontrol not found here" in done.stderr
    assert "--launcher ssh" in done.stderr


def test_a_cluster_that_does_not_answer_is_not_waited_for(submit, cluster: Cluster):
    conf = cluster.folder / "silent.conf"
    text = (cluster.folder / "slurm.conf").read_text()
    port = next(line for line in text.splitlines() if line.startswith("SlurmctldPort="))
    conf.write_text(text.replace(port, "SlurmctldPort=1"))
    begun = time.monotonic()
    done = submit(env={"SLURM_CONF": str(conf)})
    assert done.returncode == 1
    assert "--launcher slurm: sinfo" in done.stderr
    assert time.monotonic() - begun < 20


def test_a_folder_that_the_nodes_do_not_share_ends_the_job_with_that_question(
    submit, home: Home, cluster: Cluster, tmp_path: Path
):
    done = submit(f"hardware.slurm.folder={tmp_path}/mine alone", "hardware.slurm.node_failure_retries=0")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: state_of(home, cluster)["state"] == "failed", within_s=40, what="the job to have failed")
    said = state_of(home, cluster)["message"]
    assert said.startswith("Slurm could not start it"), said
    assert f"can the nodes see {tmp_path}/mine alone/runs/" in said


def test_an_interpreter_that_the_nodes_do_not_have_is_named_by_why(submit, home: Home, cluster: Cluster):
    done = submit("hardware.slurm.python=/opt/none here/python")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: state_of(home, cluster)["state"] == "failed", within_s=40, what="the job to have failed")
    assert "can the nodes see" in state_of(home, cluster)["message"]
    env = {"SLURM_CONF": str(cluster.folder / "slurm.conf")}
    why = run_script(home, "why", "latest", env=env)
    assert "/opt/none here/python" in why.stdout, why.stdout


def test_a_submission_that_breaks_off_is_lost_and_one_that_only_lost_its_answer_is_found(
    submit, home: Home, cluster: Cluster
):
    """SIGKILL at the moment of sbatch: a program of that name on the PATH kills the command line, before or after."""
    tools = home.path / "tools"
    tools.mkdir()
    program = tools / "sbatch"
    for when, expected in (("before", "lost"), ("after", "pending running failed lost")):
        real = 'sbatch "$@"; ' if when == "after" else ""
        program.write_text(f"#!/bin/bash\nPATH=${{PATH#*:}}\n{real}kill -KILL $PPID\n")
        program.chmod(0o755)
        done = submit("hardware.slurm.exclude=node2", env={"PATH": f"{tools}{os.pathsep}{home.env['PATH']}"})
        assert done.returncode == -9
        state = state_of(home, cluster)
        assert state["state"] in expected.split(), state
        if when == "before":
            assert "its submission broke off" in state["message"]
            continue
        run = RunDir(home.runs / state["id"])
        assert str(read_json(run.handle)["job"]) in cluster.jobs()
        env = {"SLURM_CONF": str(cluster.folder / "slurm.conf")}
        done = run_script(home, "cancel", run.id, env=env)
        assert done.returncode == 0, done.stderr
