"""What needs no cluster of the Slurm launcher: its words for sbatch, its reading of Slurm's words, and its verdicts."""

import dataclasses
import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.launchers.base import Handle
from runjob.launchers.place import own_place
from runjob.launchers.slurm import SlurmLauncher, unsubmitted
from runjob.launchers.slurm_fate import ask_fate
from runjob.launchers.slurm_meeting import first_node
from runjob.launchers.slurm_node import NOTHING_TO_DO, begin
from runjob.launchers.slurm_queue import NEVER, SlurmJob, parse_sacct, parse_squeue
from runjob.launchers.slurm_survey import parse_sinfo
from runjob.launchers.slurm_text import check_path, setup_lines
from runjob.launchers.slurm_verdict import ENDS, judge
from runjob.launchers.slurm_words import read_facts, seconds
from runjob.launchers.ssh import not_there
from runjob.runner.compile import compile_job
from runjob.schemas.errors import JobError
from runjob.schemas.job_hardware import Slurm
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job
from runjob.schemas.run import Exit, RunDir, Status

GOLDEN = Path(__file__).parent.parent / "golden" / "gpt2_dutch_medium.sbatch"
JOBS = Path(__file__).parent.parent.parent / "jobs"
NODE = Machine(cores=64, gpus=("a100",) * 4, processor="")
# Every field of the block that leaves a trace in the text
BLOCK = (
    "partition=gpu",
    "account=nlp",
    "qos=long",
    "reservation=workshop",
    "cpus=32",
    "memory=200GiB",
    "time=12:30:00",
    "constraint=a100&nvlink",
    "exclude=node[3-4]",
    "signal_before=600",
    "container_image=/images/train.sqsh",
    "folder=/shared/me and you/runjob",
    "python=/opt/train/bin/python",
)


def preview(*sets: str) -> str:
    job = read_job(JOBS / "gpt2_dutch_medium.yaml", [f"hardware.slurm.{one}" for one in sets]).job
    return SlurmLauncher().preview(job, compile_job(job, NODE))


def test_the_sbatch_text_of_a_shipped_job_is_the_golden_one():
    """Delete the file and run the test to record a change that is meant."""
    text = preview(*BLOCK, 'setup=["module load cuda/12.8", "ulimit -n 65536"]')
    if not GOLDEN.exists():
        GOLDEN.write_text(text)
        pytest.fail(f"recorded {GOLDEN}; look at it")
    assert text == GOLDEN.read_text()


def test_hours_are_hours_and_what_is_left_out_is_left_to_the_cluster():
    lines = preview("time=12:30:00").splitlines()
    assert "#SBATCH --time=750" in lines
    plain = preview("cpus=1")
    for absent in ("--time", "--partition", "--account", "--mem", "--wckey", "--gres", "--array"):
        assert absent not in plain, absent


def test_gres_takes_the_place_of_gpus():
    assert "--gpus-per-node=" in preview("cpus=1")
    text = preview("gres=gpu:a100:4")
    assert "#SBATCH --gres=gpu:a100:4" in text
    assert "--gpus-per-node" not in text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1))
def test_whatever_a_folder_is_called_bash_reads_one_word(name: str):
    slurm = read_job(JOBS / "gpt2_dutch_medium.yaml", ["hardware.slurm.cpus=1"]).job.hardware.slurm
    lines = setup_lines(slurm, shlex.quote(f"/shared/{name}"), {"RUNJOB_CACHE": f"/{name}"})
    words = shlex.split("\n".join(lines[1:]).replace("${PYTHONPATH:+:$PYTHONPATH}", ""))
    assert words == [
        "export",
        f"PYTHONPATH=/shared/{name}/code",
        "PYTHONSAFEPATH=1",
        "export",
        f"RUNJOB_CACHE=/{name}",
    ]


def block(*sets: str) -> Slurm:
    values = [f"hardware.slurm.{one}" for one in ("cpus=1", *sets)]
    slurm = read_job(JOBS / "gpt2_dutch_medium.yaml", values).job.hardware.slurm
    assert slurm is not None
    return slurm


@pytest.mark.parametrize("path", ["/a%jb", "/a:b", "/a\nb", "/a\\b"])
def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(path: str):
    with pytest.raises(JobError, match=r"hardware\.slurm\.folder: .* choose a path without"):
        check_path(path, "hardware.slurm.folder", block())


def test_a_comma_in_a_path_is_refused_where_a_container_would_take_it_for_two_mounts():
    check_path("/a,b", "hardware.slurm.folder", block())
    with pytest.raises(JobError, match=r"holds ',': Pyxis takes , as the end of a mount"):
        check_path("/a,b", "hardware.slurm.folder", block("container_image=/images/train.sqsh"))


RUNNING = Status(state="running", attempt=2, updated=0.0, message="stage train")
PENDING = Status(state="pending", attempt=1, updated=0.0)
SAVED = Status(state="pending", attempt=1, updated=0.0, message="saved at step 7 and requeued by Slurm (x)")
STOPPING = Status(state="stopping", attempt=1, updated=0.0, message="saved at step 7; Slurm ends job 9")
EXIT = Exit(outcome="preempted", code=75, step=7, reason="")


def slurm_says(state: str, reason: str = "None", nodes: str = "node1") -> SlurmJob:
    return SlurmJob(id="9", state=state, reason=reason, nodes=nodes)


@pytest.mark.parametrize(
    ("stored", "said", "job", "state", "words"),
    [
        (PENDING, None, slurm_says("PENDING", "Priority", ""), "pending", "waits in Slurm's queue as job 9 (Priority)"),
        (SAVED, EXIT, slurm_says("PENDING", "BeginTime", ""), "pending", "saved at step 7 and requeued by Slurm"),
        (SAVED, EXIT, slurm_says("COMPLETING"), "pending", "saved at step 7 and requeued by Slurm"),
        (PENDING, None, slurm_says("RUNNING"), "pending", "Slurm starts it on node1 (job 9)"),
        (RUNNING, None, slurm_says("RUNNING"), "running", "stage train"),
        (RUNNING, None, slurm_says("PENDING", "BeginTime", ""), "pending", "its node went away, last sign at "),
        (STOPPING, EXIT, slurm_says("COMPLETING"), "stopping", "saved at step 7; Slurm ends job 9"),
        (STOPPING, EXIT, slurm_says("CANCELLED"), "cancelled", "it had saved at step 7 (job 9)"),
        (RUNNING, None, slurm_says("CANCELLED"), "cancelled", "cancelled in Slurm (scancel), not by runjob (job 9)"),
        (RUNNING, None, slurm_says("TIMEOUT"), "failed", "hardware.slurm.signal_before"),
        (RUNNING, None, slurm_says("NODE_FAIL"), "failed", "its node failed"),
        (RUNNING, None, slurm_says("OUT_OF_MEMORY"), "failed", "hardware.slurm.memory asks for more"),
        (PENDING, None, slurm_says("FAILED", "JobLaunchFailure"), "failed", "can the nodes see /shared/x"),
        (RUNNING, None, slurm_says("FAILED", "NonZeroExitCode"), "lost", "the job never said how it ended"),
        (RUNNING, None, None, "lost", "Slurm knows nothing of job 9 any more; it was running, last sign at "),
    ],
)
def test_two_witnesses_make_one_state(stored, said, job, state, words):
    judged = judge(stored, said, job, "9", "/shared/x")
    assert judged.state == state
    assert words in judged.message
    assert judged.attempt == stored.attempt


@pytest.mark.parametrize("reason", NEVER)
def test_a_reason_that_never_passes_is_said_in_words(reason: str):
    said = judge(PENDING, None, slurm_says("PENDING", reason, ""), "9", "/x").message
    assert "it can't start as it is" in said
    assert NEVER[reason] in said


def test_every_end_of_slurm_has_its_words():
    for state, (ours, why) in ENDS.items():
        assert judge(RUNNING, None, slurm_says(state), "9", "/x") == dataclasses.replace(
            RUNNING, state=ours, message=f"{why} (job 9)"
        )


def test_squeue_and_both_kinds_of_records_are_read_alike():
    text = "7|RUNNING|None|node[1-2]|a-12345678|runjob attempt 3\n8|PENDING|Resources||b|c|d\n"
    jobs = parse_squeue(text)
    assert jobs["7"].comment == "runjob attempt 3"
    assert (jobs["8"].reason, jobs["8"].comment) == ("Resources", "c|d")
    assert parse_sacct("7|CANCELLED by 0|node1\n", "7").state == "CANCELLED"
    assert parse_sacct("7|REQUEUED|node1\n7|COMPLETED|node2\n", "7").nodes == "node2"
    assert parse_sacct("70|FAILED|node1\n", "7") is None


def test_nodes_limits_and_facts_are_read_as_slurm_writes_them():
    assert first_node("gpu[03-04,7],login") == "gpu03"
    assert seconds("1-00:01:40") == 86500
    assert seconds("UNLIMITED") is None
    assert read_facts("JobState=RUNNING Reason=None WorkDir=/a Reason=TimeLimit")["Reason"] == "None"
    rows = parse_sinfo("main*|n1|4+|8192|gpu:2(S:0),shard:8|infinite\nold|n2|2|100|(null)|30:00\n")
    assert [(row.partition, row.default, row.cores, row.gpus) for row in rows] == [
        ("main", True, 4, ("gpu", "gpu")),
        ("old", False, 2, ()),
    ]


@pytest.mark.parametrize(
    ("launcher", "facts", "begun"),
    [
        ("slurm", {"job": "7"}, 2),
        ("slurm", {"job": ""}, 2),
        ("slurm", {"job": "8"}, NOTHING_TO_DO),
        ("slurm", {}, NOTHING_TO_DO),
        ("local", {"host": "here"}, NOTHING_TO_DO),
        ("ssh", {"host": "gpu-box"}, NOTHING_TO_DO),
    ],
)
def test_a_slurm_job_that_comes_back_leaves_a_run_alone_that_has_gone_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, facts: dict[str, str | int], begun: int
):
    run = RunDir.create(tmp_path, "moved")
    run.new_attempt().supervisor_log.touch()
    run.write_status("running", attempt=1)
    Handle(launcher=launcher, attempt=1, facts=facts).write(run)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert begin(run, 1, 3) == begun
    assert len(run.list_attempts()) == (begun or 1)


def test_a_submission_of_another_login_node_is_not_called_lost():
    elsewhere = {**own_place(), "host": "login2", "boot_id": "another"}
    assert unsubmitted(PENDING, elsewhere).state == "unreachable"
    assert "login2" in unsubmitted(PENDING, elsewhere).message
    dead = {**own_place(), "start_time": 1}
    assert unsubmitted(PENDING, dead).state == "lost"
    sending = Handle(launcher="ssh", attempt=1, facts={f"by_{name}": value for name, value in elsewhere.items()})
    assert not_there(PENDING, sending, "there is no copy").state == "unreachable"
    assert not_there(PENDING, dataclasses.replace(sending, facts={}), "there is no copy").state == "lost"


@pytest.mark.parametrize(
    ("said", "leave", "why"),
    [
        ("JobState=COMPLETING Reason=None PreemptTime=2026-11-22T02:00:00", False, "preempted by a job of higher"),
        ("JobState=COMPLETING Reason=TimeLimit PreemptTime=None", False, "its time limit was reached"),
        ("JobState=RUNNING Reason=None RunTime=00:57:00 TimeLimit=01:00:00", False, "its time limit was near"),
        ("JobState=RUNNING Reason=None RunTime=00:10:00 TimeLimit=01:00:00", False, "it was asked to make way"),
        ("JobState=COMPLETING Reason=None RunTime=00:10:00 TimeLimit=01:00:00 PreemptTime=None", True, ""),
    ],
)
def test_why_slurm_ends_a_job_says_whether_it_may_come_back(tmp_path, monkeypatch, said, leave, why):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho 'JobId=7 {said}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fate = ask_fate("7", warning_s=180)
    assert (fate.leave, fate.why.startswith(why)) == (leave, True)
