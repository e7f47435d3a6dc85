"""The uploader and its counterpart `adopt`, on a plain folder: what is there at any moment is a checkpoint or none."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.runner.worker.adopt import adopt, fetch_newer
from runjob.schemas.errors import JobError, NotFoundError
from runjob.schemas.manifest import damage
from runjob.schemas.run import RunDir, read_json, write_json
from runjob.schemas.upload import read_upload
from tests.cluster.remote_runs import begin_attempt, make_run, save, upload_all
from tests.conftest import clean_environment, contents

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


@pytest.fixture
def run(tmp_path: Path, far: Path) -> RunDir:
    return make_run(tmp_path / "runs", f"file://{far}")


def steps(place: Path) -> list[int]:
    """Of complete checkpoints in a run directory or a copy of one."""
    folders = sorted((place / "checkpoints").glob("step-*"))
    return [int(folder.name.removeprefix("step-")) for folder in folders if not list(damage(folder))]


def home(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_at_whatever_write_it_is_killed_there_is_the_older_checkpoint_or_the_new_one(tmp_path):
    program = ROOT / "tests" / "cluster" / "upload_kills_program.py"
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, program, tmp_path], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    kills = int(done.stdout)
    assert kills > 20
    newest = []
    for kill in range(1, kills + 2):
        place = tmp_path / str(kill)
        found = adopt(f"file://{place}/far/small-0a1b2c3d", place / "empty")
        newest.append(max(steps(found.path)))
        name = f"step-{newest[-1]:08d}"
        local = place / "runs" / found.id / "checkpoints" / name
        assert contents(found.checkpoints / name) == contents(local)
        assert found.latest.read_text() == f"{name}\n"
        assert max(record["step"] for record in found.read_events()) >= newest[-1]
    assert newest == sorted(newest)
    assert set(newest) == {7, 14}


def test_an_uploader_that_was_killed_goes_on_when_it_is_started_again(run, far, tmp_path):
    save(run, 7)
    assert upload_all(run, {"RUNJOB_TEST_FAULT": "remote-write@50"}) == -9
    assert upload_all(run) == 0
    there = far / run.id
    assert steps(there) == [7]
    assert not [name for name in contents(there) if ".part" in name]
    assert contents(there / "checkpoints" / "step-00000007") == contents(run.checkpoints / "step-00000007")


def test_the_copy_says_how_the_job_ended_and_holds_its_model(run, far, tmp_path):
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    save(run, 7)
    assert upload_all(run) == 0
    status = read_json(far / run.id / "status.json")
    assert (status["state"], status["attempt"], status["message"]) == ("finished", 1, "all steps done")
    found = adopt(f"file://{far}/{run.id}", home(tmp_path))
    assert found.read_status().state == "finished"
    assert contents(found.model) == {"model.safetensors": b"weights"}
    assert contents(found.code) == contents(run.code)
    assert found.path.stat().st_mode & 0o777 == 0o700


def test_old_checkpoints_are_pruned_there_as_here_and_the_best_is_kept(run, far):
    save(run, 7)
    save(run, 14, best=7)
    assert upload_all(run) == 0
    save(run, 21, best=7)
    begin_attempt(run)
    assert upload_all(run) == 0
    # keep: 2, and the training has pruned nothing here yet
    assert steps(far / run.id) == [7, 14, 21]
    for name in contents(run.checkpoints / "step-00000014"):
        (run.checkpoints / "step-00000014" / name).unlink()
    (run.checkpoints / "step-00000014").rmdir()
    save(run, 28, best=7)
    begin_attempt(run)
    assert upload_all(run) == 0
    assert steps(far / run.id) == [7, 21, 28]


def test_the_newest_goes_first_and_the_older_ones_when_there_is_time(run, far):
    for step in (7, 14, 21):
        save(run, step)
    assert upload_all(run) == 0
    log = run.attempt(1).stage_log("upload").read_text()
    assert re.findall(r"step (\d+): complete there", log) == ["21", "14", "7"]


def test_a_checkpoint_that_is_damaged_here_does_not_take_the_place_of_a_good_one(run, far):
    save(run, 7)
    save(run, 14)
    save(run, 21)
    cut_off = run.checkpoints / "step-00000021" / "manifest.json"
    cut_off.write_bytes(cut_off.read_bytes()[:-20])
    bad = run.checkpoints / "step-00000014" / "weights-00001.safetensors"
    bad.write_bytes(bytes(reversed(bad.read_bytes())))
    assert upload_all(run) == 0
    assert steps(far / run.id) == [7]
    said = "step 14: checkpoints/step-00000014/weights-00001.safetensors is damaged here"
    assert said in run.attempt(1).stage_log("upload").read_text()


def test_a_run_that_went_back_removes_what_came_later_there(run, far):
    save(run, 7)
    save(run, 14)
    assert upload_all(run) == 0
    folder = run.checkpoints / "step-00000014"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    begin_attempt(run)
    save(run, 10, content="another way")
    assert upload_all(run) == 0
    assert steps(far / run.id) == [7, 10]


def test_another_checkpoint_of_the_same_step_takes_the_place_of_the_first(run, far):
    save(run, 7)
    assert upload_all(run) == 0
    for file in (run.checkpoints / "step-00000007").iterdir():
        file.unlink()
    (run.checkpoints / "step-00000007").rmdir()
    begin_attempt(run)
    save(run, 7, content="another")
    assert upload_all(run) == 0
    assert contents(far / run.id / "checkpoints") == contents(run.checkpoints)


def test_an_attempt_that_was_overtaken_elsewhere_uploads_nothing_more(run, far, tmp_path):
    save(run, 7)
    assert upload_all(run, state="preempted") == 0
    found = adopt(f"file://{far}/{run.id}", home(tmp_path))
    begin_attempt(found)
    save(found, 14, content="elsewhere")
    assert upload_all(found) == 0
    save(run, 14, content="here")
    save(run, 21, content="here")
    assert upload_all(run) == 0
    upload = read_upload(run)
    assert upload is not None
    assert upload.state == "superseded"
    assert upload.error.startswith("attempt 2 of this job was begun on ")
    assert steps(far / run.id) == [7, 14]
    fetch_newer(run, f"file://{far}")  # as `resume` does: the history that was gone on with is the run's
    assert contents(run.checkpoints) == contents(found.checkpoints)
    assert [path.name for path in (run.attempt(1).path / "checkpoints").iterdir()] == ["step-00000021"]


def test_two_that_adopt_the_same_job_do_not_mix_their_checkpoints(run, far, tmp_path):
    save(run, 7)
    assert upload_all(run, state="preempted") == 0
    first, second = (adopt(f"file://{far}/{run.id}", tmp_path / name) for name in ("first", "second"))
    for one in (first, second):
        begin_attempt(one)
        save(one, 14, content=one.path.parent.name)
        assert upload_all(one) == 0
    upload = read_upload(second)
    assert upload is not None
    assert upload.state == "superseded"
    assert upload.problem().startswith("the checkpoint of step 14 is only here, the newest at file://")
    assert contents(far / run.id / "checkpoints" / "step-00000014") == contents(first.checkpoints / "step-00000014")


def test_what_is_newer_there_comes_to_a_run_that_is_here(run, far, tmp_path):
    save(run, 7)
    assert upload_all(run, state="preempted") == 0
    found = adopt(f"file://{far}/{run.id}", home(tmp_path))
    begin_attempt(found)
    save(found, 14)
    assert upload_all(found, state="preempted") == 0
    fetch_newer(run, f"file://{far}")
    assert steps(run.path) == [7, 14]
    assert run.read_status().attempt == 2
    assert [record["step"] for record in run.read_events()] == [7, 14]


def test_a_checkpoint_that_never_came_home_is_taken_and_the_word_of_where_it_ran_is_not(run, far):
    save(run, 7)
    save(run, 14)
    write_json(run.handle, {"launcher": "local", "attempt": 1, "host": "elsewhere"})
    assert upload_all(run, state="preempted") == 0
    shutil.rmtree(run.checkpoints / "step-00000014")
    run.events.write_text(run.events.read_text().splitlines()[0] + "\n")
    write_json(run.handle, {"launcher": "ssh", "attempt": 1, "host": "far"})
    fetch_newer(run, f"file://{far}")
    assert steps(run.path) == [7, 14]
    assert [record["step"] for record in run.read_events()] == [7, 14]
    assert read_json(run.handle)["launcher"] == "ssh"


def test_what_was_set_aside_here_does_not_come_back_from_there(run, far):
    """`resume --from 7`, and killed before the first checkpoint of the new history."""
    save(run, 7)
    save(run, 14)
    assert upload_all(run, state="preempted") == 0
    attempt = begin_attempt(run)
    aside = attempt.path / "checkpoints" / "step-00000014"
    aside.parent.mkdir()
    (run.checkpoints / "step-00000014").rename(aside)
    assert upload_all(run, state="preempted") == 0
    assert steps(far / run.id) == [7, 14]
    fetch_newer(run, f"file://{far}")
    assert steps(run.path) == [7]
    next(path for path in aside.iterdir() if path.name != "manifest.json").write_bytes(b"damaged")
    fetch_newer(run, f"file://{far}")
    assert steps(run.path) == [7, 14]


def test_what_a_resume_from_a_step_has_left_is_not_offered_there(run, far):
    """`resume --from 7`: also before the first checkpoint of the new history, and not what that adds."""
    for step in (7, 14, 21):
        save(run, step)
    assert upload_all(run, state="preempted") == 0
    attempt = begin_attempt(run)
    write_json(attempt.path / "resume.json", {"from": 7, "after": "preempted"})
    (attempt.path / "checkpoints").mkdir()
    for name in ("step-00000014", "step-00000021"):
        (run.checkpoints / name).rename(attempt.path / "checkpoints" / name)
    assert upload_all(run, state="preempted") == 0
    assert steps(far / run.id) == [7]
    assert (far / run.id / "checkpoints" / "LATEST").read_text() == "step-00000007\n"
    assert "skipped" not in attempt.stage_log("upload").read_text()
    save(run, 10)
    assert upload_all(run, state="preempted") == 0
    shutil.rmtree(run.checkpoints / "step-00000010")
    assert upload_all(run, state="preempted") == 0, "one that was killed, started again"
    assert steps(far / run.id) == [7, 10]


def test_an_adoption_that_broke_off_goes_on_and_a_damaged_copy_is_passed_over(run, far, tmp_path):
    save(run, 7)
    save(run, 14)
    assert upload_all(run) == 0
    bad = far / run.id / "checkpoints" / "step-00000014" / "weights-00001.safetensors"
    bad.write_bytes(bytes(reversed(bad.read_bytes())))
    found = adopt(f"file://{far}/{run.id}", home(tmp_path))
    assert steps(found.path) == [7]
    assert found.latest.read_text() == "step-00000007\n"


def test_no_character_of_an_address_means_anything_to_anybody(tmp_path):
    far = tmp_path / "$(touch${IFS}pwned);'\"*[a]{b}&|>pwned`touch${IFS}pwned`"
    run = make_run(tmp_path / "runs", "file://" + str(far).replace('"', '\\"'))
    save(run, 7)
    assert upload_all(run) == 0
    assert steps(far / run.id) == [7]
    found = adopt(f"file://{far}/{run.id}", home(tmp_path))
    assert contents(found.checkpoints) == contents(run.checkpoints)
    assert not list(tmp_path.rglob("pwned"))


def test_what_is_no_job_is_said_so(run, far, tmp_path):
    with pytest.raises(JobError, match=r"ends in no job's id; write output.remote and the id"):
        adopt(f"file://{far}", tmp_path)
    with pytest.raises(NotFoundError, match=r"no job is there \(job.yaml, job.json, "):
        adopt(f"file://{far}/{run.id}", home(tmp_path))
    with pytest.raises(JobError, match=r"is under .* already"):
        adopt(f"file://{far}/{run.id}", run.path.parent)


def test_a_model_with_folders_is_sent_and_fetched_whole_and_a_copy_that_lacks_them_is_mended(run, far, tmp_path):
    (run.model / "1_Pooling").mkdir(parents=True)
    (run.model / "model.safetensors").write_bytes(b"weights")
    (run.model / "1_Pooling" / "config.json").write_text("{}")
    save(run, 7)
    assert upload_all(run) == 0
    listed = far / run.id / "model.json"
    whole = listed.read_bytes()
    # as it was sent before folders were looked into
    (far / run.id / "model" / "1_Pooling" / "config.json").unlink()
    listed.write_text(json.dumps({name: facts for name, facts in json.loads(whole).items() if "/" not in name}))
    assert upload_all(run) == 0
    assert listed.read_bytes() == whole
    assert contents(adopt(f"file://{far}/{run.id}", home(tmp_path)).model) == contents(run.model)


def test_a_name_in_a_list_never_leads_out_of_the_run(run, far, tmp_path):
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    save(run, 7)
    assert upload_all(run) == 0
    listed = far / run.id / "model.json"
    listed.write_text(listed.read_text().replace("model.safetensors", "../../../pwned"))
    with pytest.raises(Exception, match="leads out of the run"):
        adopt(f"file://{far}/{run.id}", home(tmp_path))
    assert not list(tmp_path.rglob("pwned"))


def test_upload_json_tells_its_story_in_a_line(run):
    save(run, 7)
    assert upload_all(run) == 0
    upload = read_upload(run)
    assert upload is not None
    assert upload.describe() == f"{upload.url}: step 7 there, finished"
    assert json.loads(run.upload.read_text())["there"] == 7
