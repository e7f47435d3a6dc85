"""When a job on a spot machine begins its next attempt by itself: it was taken back, not more often than allowed; and
until when what a rented machine holds can be fetched."""

import json
from pathlib import Path

import pytest

from runjob.launchers.aws import AwsLauncher
from runjob.launchers.aws_lending import names_s3
from runjob.launchers.base import Handle
from runjob.launchers.ssh_link import Link
from runjob.launchers.ssh_target import SshTarget
from runjob.runner.commands_fetch import fetch_at_the_end, tell_of_loss
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, State, Status
from tests.conftest import ROOT

NOTICE = "spot interruption at 2026-11-21T12:02:00Z"
TAKEN = "the machine i-1 is gone (spot machine, taken back: Server.SpotInstanceTermination); what it had not ..."


def run_with(home: Path, *, spot: bool, machines: int, sets: tuple[str, ...] = ()) -> RunDir:
    run = RunDir.create(home, "small")
    block = {"instance": "g5.xlarge", "max_hours": 2, "spot": spot, "spot_retries": 2}
    job = read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", [f"hardware.aws={json.dumps(block)}", *sets])
    write_job_json(run.job, job)
    run.aws.mkdir()
    line = {"machine": "i-1", "attempt": 1, "spot": int(spot), "usd_hour": 1.0, "from": 1.0, "to": 2.0}
    (run.aws / "rented.jsonl").write_text(f"{json.dumps(line)}\n" * machines)
    return run


@pytest.mark.parametrize(
    ("state", "message", "machines", "spot", "goes_on"),
    [
        ("preempted", NOTICE, 1, True, True),
        ("lost", TAKEN, 1, True, True),
        ("preempted", NOTICE, 2, True, True),
        ("preempted", NOTICE, 3, True, False),
        ("preempted", "stop_after: 10 steps", 1, True, False),
        ("lost", "the machine i-1 is gone (ended from outside: Client.UserInitiatedShutdown)", 1, True, False),
        ("finished", "all steps done", 1, True, False),
        ("cancelled", NOTICE, 1, True, False),
        ("preempted", NOTICE, 1, False, False),
    ],
)
def test_only_what_was_taken_back_goes_on(
    tmp_path: Path, state: State, message: str, machines: int, spot: bool, goes_on: bool
) -> None:
    run = run_with(tmp_path, spot=spot, machines=machines)
    said = AwsLauncher().goes_on(run, Status(state=state, attempt=1, updated=0.0, message=message))
    assert bool(said) == goes_on
    if goes_on:
        expected = f"spot machine {machines} was taken back; renting the next (hardware.aws.spot_retries: 2)"
        assert said == expected


def test_who_could_not_fetch_is_told_how_long_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the machine nor Amazon can be asked here."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    (tmp_path / "config").write_text("Host *\n  Hostname 127.0.0.1\n  Port 1\n")
    run = run_with(tmp_path, spot=False, machines=1)
    run.write_status("finished", attempt=1)
    target = SshTarget(host="rented", config_file=str(tmp_path / "config"))
    link = Link(
        target=target, root="/there/.runjob", path="/there/.runjob/runs/x", python="python3", setup=(), rsync=False
    )
    facts = {"phase": "running", "machine": "i-1", "region": "us-east-1", **link.facts()}
    Handle(launcher="aws", attempt=1, facts=facts).write(run)
    assert not fetch_at_the_end(run)
    said = capsys.readouterr().err
    assert f"what it made is still there; to bring it home: runjob fetch {run.id}\n" in said
    assert said.endswith("it is gone when its machine has had nothing to do for 20 min, and ends itself\n")


def test_who_leaves_a_job_alone_there_is_told_how_long_it_keeps_what_it_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, spot=False, machines=1)
    Handle(launcher="aws", attempt=1, facts={}).write(run)
    tell_of_loss(run)
    assert capsys.readouterr().err == (
        "what it makes is gone when its machine has had nothing to do for 20 min, and ends itself: bring it home with "
        f"`runjob logs -f {run.id}` or `runjob fetch {run.id}`, or name output.remote next time\n"
    )
    kept = run_with(tmp_path, spot=False, machines=1, sets=("output.remote=s3://bucket/runs",))
    Handle(launcher="aws", attempt=1, facts={}).write(kept)
    Handle(launcher="local", attempt=1, facts={}).write(run)
    tell_of_loss(kept)
    tell_of_loss(run)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"data": {"path": ["/a.txt", "s3://bucket/a.txt"]}}, True),
        ({"output": {"remote": "s3://bucket/runs"}}, True),
        ({"data": {"path": ["/s3://a.txt", "https://bucket.s3.amazonaws.com/a.txt"]}, "seed": 1}, False),
    ],
)
def test_a_session_is_lent_where_a_job_names_s3_at_any_depth(values, named):
    assert names_s3(values) is named
