"""One bit, half or all of a file is lost, in every kind of file of a run: whoever looks is answered, whoever would
compute with it is told its name and the way on, and nothing else is lost."""

import json
import random
import shutil

import pytest

from benchmarks.chaos.damage import DAMAGES, kinds
from runjob.runner.cli import main
from runjob.schemas.run import RunDir
from tests.chaos.conftest import LOCAL
from tests.conftest import rewrite

LOOKS = (["ps"], ["ps", "--json"], ["status", "ID"], ["status", "ID", "--json"], ["why", "ID"], ["logs", "ID"])
# A bit decides which field is hit
FLIPS = 5


def test_every_command_that_looks_answers_whatever_is_damaged(stopped: RunDir, home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RUNJOB_HOME", str(home.runs))
    monkeypatch.setenv("RUNJOB_CACHE", str(home.cache))
    found = kinds(stopped, home.cache)
    assert {"job.json", "status.json", "handle.json", "events.jsonl", "checkpoints/manifest.json"} < found.keys()
    for kind, file in found.items():
        good = file.read_bytes()
        for damage, times in (("one bit", FLIPS), ("half", 1), ("empty", 1)):
            for time in range(times):
                file.write_bytes(DAMAGES[damage](good, random.Random(f"{kind} {damage} {time}")))
                for words in LOOKS:
                    code = main([stopped.id if word == "ID" else word for word in words])
                    assert code == 0, (kind, damage, time, words, capsys.readouterr().err)
        file.write_bytes(good)
    capsys.readouterr()


def test_a_damaged_record_is_named_and_the_others_are_shown(stopped: RunDir, small):
    lines = stopped.events.read_bytes().splitlines(keepends=True)
    stopped.events.write_bytes(b"".join([lines[0], b'{"event": "tr\xff', *lines[1:]]))
    done = small("", "logs", stopped.id)
    assert done.returncode == 0
    assert f"{stopped.events}: a line is damaged and left out: " in done.stderr
    assert "step 10/20" in done.stdout


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_job_is_refused_and_the_copy_of_an_earlier_attempt_serves(stopped: RunDir, small, damage: str):
    earlier = stopped.attempt(1).path / "job.json"
    good = stopped.job.read_bytes()
    # a learning rate that is another number, and as good JSON as any
    bad = good.replace(b'"learning_rate": 0.0005', b'"learning_rate": 0.0004')
    stopped.job.write_bytes(bad if damage == "one bit" else DAMAGES[damage](good, random.Random(1)))
    assert stopped.job.read_bytes() != good
    refused = small("exact", "resume", stopped.id, *LOCAL)
    assert refused.returncode == 1
    assert (
        f"{stopped.job}: " in refused.stderr and f"{earlier} is the job as an earlier attempt had it" in refused.stderr
    )
    assert sorted(path.name for path in stopped.attempts.iterdir()) == ["1", "2"]
    shutil.copyfile(earlier, stopped.job)
    assert small("exact", "resume", stopped.id, *LOCAL).returncode == 0


@pytest.mark.parametrize("name", ["handle", "deepspeed"])
def test_what_can_be_made_anew_is_refused_until_it_is_deleted(stopped: RunDir, small, name: str):
    file = getattr(stopped, name)
    file.write_bytes(file.read_bytes()[:40])
    refused = small("exact", "resume", stopped.id, *LOCAL)
    assert (refused.returncode, f"{file}: can't be read" in refused.stderr) == (1, True)
    assert "delete " in refused.stderr
    assert sorted(path.name for path in stopped.attempts.iterdir()) == ["1", "2"]
    file.unlink()
    # without a handle it counts as on its way for less than a minute
    written = json.loads(stopped.status.read_text())
    rewrite(stopped.status, updated=written["updated"] - 60)
    went_on = small("exact", "resume", stopped.id, *LOCAL)
    assert went_on.returncode == 0, went_on.stderr


def test_what_others_say_too_is_named_and_passed_over(stopped: RunDir, small):
    stopped.plan.write_text('{"name": ')
    stopped.status.write_text('{"state": "lo')
    stopped.progress.write_bytes(b"")
    (stopped.attempt(1).path / "exit.json").write_text('{"outcome": "fin')
    (stopped.attempt(2).path / "resume.json").write_text("[]")
    done = small("exact", "resume", stopped.id, *LOCAL)
    assert done.returncode == 0, done.stderr
    assert f"{stopped.plan}: can't be read" in done.stdout and "it is compiled anew from job.json" in done.stdout
    assert f"{stopped.status}: can't be read" in done.stdout
    assert json.loads(stopped.status.read_text())["attempt"] == 3


def test_the_frozen_code_is_refused_if_a_bit_of_it_is_another(stopped: RunDir, small):
    file = stopped.code / "runjob" / "runner" / "worker" / "train.py"
    good = file.read_bytes()
    file.write_bytes(DAMAGES["one bit"](good, random.Random(1)))
    refused = small("exact", "resume", stopped.id, *LOCAL)
    assert (refused.returncode, f"{stopped.code}: damaged" in refused.stderr) == (1, True)
    # what Python compiles beside it is no damage
    file.write_bytes(good)
    (file.parent / "__pycache__").mkdir(exist_ok=True)
    (file.parent / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"compiled")
    assert small("exact", "resume", stopped.id, *LOCAL).returncode == 0


def test_a_request_to_stop_that_is_damaged_still_asks_to_save_and_stop(stopped: RunDir):
    attempt = stopped.attempt(2)
    for text, reason in (('{"reason": "cancel"}', "cancel"), ('{"reason": "can', "preempt"), ("", "preempt")):
        attempt.stop_request.write_text(text)
        assert (attempt.stop_reason(), attempt.stop_note()) == (reason, "")


def test_a_digit_that_is_another_is_named_and_not_believed(stopped: RunDir, small):
    """Each is as good JSON as before, with all its fields."""
    for file, was, now in (
        (stopped.plan, '"stop_deadline_s": 2', '"stop_deadline_s": 3'),
        (stopped.status, '"attempt": 2', '"attempt": 1'),
        (stopped.handle, '"attempt": 2', '"attempt": 3'),
    ):
        good = file.read_text()
        file.write_text(good.replace(was, now, 1))
        assert file.read_text() != good
        said = f"{file}: damaged: its sha256 is not that of what it holds; "
        assert said in small("", "status", stopped.id).stdout
        shown = json.loads(small("", "status", stopped.id, "--json").stdout)
        assert said in " ".join([shown["message"], *shown["damaged"]])
        if file == stopped.handle:
            refused = small("exact", "resume", stopped.id, *LOCAL)
            assert (refused.returncode, said in refused.stderr) == (1, True)
            file.write_text(good)
    went_on = small("exact", "resume", stopped.id, *LOCAL)
    assert went_on.returncode == 0, went_on.stderr
    assert f"{stopped.plan}: damaged: " in went_on.stdout and "compiled anew from job.json" in went_on.stdout
    assert f"{stopped.status}: damaged: " in went_on.stdout
    assert [attempt.number for attempt in stopped.list_attempts()] == [1, 2, 3]
    assert json.loads(small("", "status", stopped.id, "--json").stdout)["damaged"] == []


def test_what_has_no_sum_is_from_before_there_were_any_and_so_is_what_its_code_is_given(stopped: RunDir, small):
    for file in (stopped.plan, stopped.status, stopped.handle):
        assert "sha256" in json.loads(file.read_text())
        rewrite(file)
    rewrite(
        stopped.code / "CODE.json", sums=False, sha256=json.loads((stopped.code / "CODE.json").read_text())["sha256"]
    )
    assert small("exact", "resume", stopped.id, *LOCAL).returncode == 0
    assert "sha256" not in json.loads(stopped.plan.read_text())
