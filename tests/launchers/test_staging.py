"""A copy of a run in another folder: what it holds, what is sent a second time, and what of an older copy gives way."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.launchers import errand
from runjob.launchers.shell import PLAIN, Here, for_login_shell, run_to_end, with_setup
from runjob.launchers.staging import stage
from runjob.launchers.staging_inputs import find_inputs, moved
from runjob.launchers.staging_place import FolderPlace
from runjob.schemas.manifest import folder_name, sha256_of
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import Attempt, RunDir
from tests.launchers.helpers import make_plan, make_run

JOB = """
schema: 1
name: small
data:
  kind: text
  path: [texts/b.txt, texts/a*.txt]
  documents: paragraph
  sequence_length: 32
  tokenizer: {kind: pretrained, path: tokenizer}
  split: {kind: hash, validation: 0.1}
model:
  init: {kind: scratch, architecture: gpt2, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
         max_position_embeddings: 32}
objective: {kind: clm}
training: {length: 20 steps, global_batch: 8, micro_batch: 4, learning_rate: 1e-2}
hardware: {device: cpu}
"""


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunDir, Attempt]:
    """A run whose job names two texts and a tokenizer, in a folder with an awkward name."""
    here = tmp_path / "it's $(touch pwned); here"
    (here / "texts").mkdir(parents=True)
    for name in ("a1.txt", "a2.txt", "b.txt", "c.txt"):
        (here / "texts" / name).write_text(f"text {name}\n")
    (here / "tokenizer").mkdir()
    (here / "tokenizer" / "tokenizer.json").write_text("{}")
    (here / "job.yaml").write_text(JOB)
    run, attempt = make_run(here / "runs", make_plan("exact"))
    write_job_json(run.job, read_job(here / "job.yaml"))
    (run.code / "runjob").mkdir(parents=True)
    (run.code / "runjob" / "x.py").write_text("print()\n")
    run.deepspeed.write_text("{}")
    return run, attempt


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(root=str(tmp_path / "shared; folder"))


def save(run: RunDir, step: int, *, best: int | None = None) -> Path:
    """A complete checkpoint, as far as the control side can tell."""
    folder = run.checkpoints / folder_name(step)
    folder.mkdir(parents=True)
    named = None if best is None else {"step": best}
    (folder / "state.json").write_text(json.dumps({"state": {"best": named}}))
    (folder / "weights-00001.safetensors").write_text(f"weights of {step}")
    files = {path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())}
    manifest = {"format": 1, "step": step, "files": files}
    own = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": own}))
    run.latest.write_text(folder.name + "\n")
    return folder


def test_a_copy_holds_the_run_and_its_inputs_and_names_them_where_they_are(run, place):
    run, attempt = run
    copy = RunDir(Path(stage(run, attempt, place, goes_on_there=False)))
    assert copy.path == Path(place.root, "runs", run.id)
    assert (copy.code / "runjob" / "x.py").read_text() == "print()\n"
    assert copy.plan.read_bytes() == run.plan.read_bytes()
    job = json.loads(copy.job.read_text())["job"]
    paths = job["data"]["path"]
    assert [Path(path).name for path in paths] == ["b.txt", "a*.txt"]
    assert Path(paths[0]).read_text() == "text b.txt\n"
    assert sorted(path.name for path in Path(paths[0]).parent.iterdir()) == ["a1.txt", "a2.txt", "b.txt"]
    assert (Path(job["data"]["tokenizer"]["path"]) / "tokenizer.json").read_text() == "{}"
    assert (copy.path / "job.home.json").read_bytes() == run.job.read_bytes()
    assert (copy.read_status().state, copy.read_status().attempt) == ("pending", 1)
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o700


def test_a_file_that_is_there_is_not_sent_again_and_a_changed_one_gets_a_place_of_its_own(run, place):
    run, attempt = run
    stage(run, attempt, place, goes_on_there=False)
    first = next(Path(place.root, "inputs").rglob("b.txt"))
    first.chmod(0o400)
    before = first.stat().st_ino
    stage(run, attempt, place, goes_on_there=False)
    assert first.stat().st_ino == before
    text = run.path.parent.parent / "texts" / "b.txt"
    text.write_text("another text\n")
    stage(run, attempt, place, goes_on_there=False)
    assert first.read_text() == "text b.txt\n"
    assert sorted(path.read_text() for path in Path(place.root, "inputs").rglob("b.txt")) == [
        "another text\n",
        "text b.txt\n",
    ]
    facts = text.stat()
    text.write_text("changed text\n")
    os.utime(text, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    stage(run, attempt, place, goes_on_there=False)
    there = [path.read_text() for path in Path(place.root, "inputs").rglob("b.txt")]
    assert sorted(there) == ["another text\n", "changed text\n", "text b.txt\n"], "of the same size and time"


def test_only_the_checkpoint_to_start_from_and_its_best_are_sent_and_a_left_branch_gives_way(run, place):
    run, _ = run
    for step, best in ((5, None), (10, 5), (15, 5)):
        save(run, step, best=best)
    run.events.write_text('{"event": "train", "step": 15, "attempt": 1}\n')
    old = RunDir(Path(place.root, "runs", run.id))
    save(old, 20)
    old.events.write_text('{"event": "train", "step": 20, "attempt": 1}\n' * 2)
    second = run.new_attempt()
    (second.path / "resume.json").write_text(json.dumps({"from": "latest", "after": "cancelled"}))
    stage(run, second, place, goes_on_there=False)
    assert sorted(path.name for path in old.checkpoints.iterdir()) == ["LATEST", folder_name(5), folder_name(15)]
    assert old.latest.read_text().strip() == folder_name(15)
    assert old.events.read_bytes() == run.events.read_bytes()
    assert json.loads((old.attempt(2).path / "resume.json").read_text())["from"] == "latest"
    third = run.new_attempt()
    (third.path / "resume.json").write_text(json.dumps({"from": 10, "after": "cancelled"}))
    stage(run, third, place, goes_on_there=False)
    assert sorted(path.name for path in old.checkpoints.iterdir()) == ["LATEST", folder_name(5), folder_name(10)]


def test_a_copy_that_goes_on_keeps_what_it_has_beyond_home(run, place):
    run, attempt = run
    copy = RunDir(Path(stage(run, attempt, place, goes_on_there=False)))
    save(copy, 20)
    copy.events.write_text("newer\n")
    second = run.new_attempt()
    stage(run, second, place, goes_on_there=True)
    assert copy.latest.exists()
    assert copy.events.read_text() == "newer\n"


def test_a_broken_copy_of_a_file_goes_on_where_it_broke_off(tmp_path: Path):
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(100_000))
    facts = (source / "big").stat()
    target.mkdir()
    part = errand.part_of(target / "big", facts.st_size, int(facts.st_mtime))
    # what is there is believed: were it sent again, the mark would be gone
    part.write_bytes(b"mark" + (source / "big").read_bytes()[4:60_000])
    FolderPlace(root=str(target)).put(source, ["big"], str(target), told=lambda line: None)
    assert (target / "big").read_bytes() == b"mark" + (source / "big").read_bytes()[4:]
    assert [path.name for path in target.iterdir()] == ["big"]


def test_a_tar_of_files_goes_on_from_the_offsets_that_are_there(tmp_path: Path):
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "deep").mkdir(parents=True)
    for name, size in (("a", 3_000_000), ("deep/b; c", 10), ("empty", 0)):
        (source / name).write_bytes(os.urandom(size))
    names = ["a", "deep/b; c", "empty"]
    wanted = [(name, (source / name).stat().st_size, int((source / name).stat().st_mtime)) for name in names]
    with (tmp_path / "cut.tar").open("wb") as file:
        errand.send(source, [(name, 0) for name in names], file, lambda name, count: None)
    os.truncate(tmp_path / "cut.tar", 1_500_000)
    with (tmp_path / "cut.tar").open("rb") as file, pytest.raises((EOFError, errand.tarfile.ReadError)):
        errand.receive(target, file, lambda name, count: None)
    there = errand.find_there(target, wanted)
    assert 1_000_000 < there["a"] < 1_500_000
    with (tmp_path / "rest.tar").open("wb") as file:
        errand.send(source, [(name, there.get(name, 0)) for name in names], file, lambda name, count: None)
    assert (tmp_path / "rest.tar").stat().st_size < 2_100_000
    with (tmp_path / "rest.tar").open("rb") as file:
        errand.receive(target, file, lambda name, count: None)
    for name in names:
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert errand.find_there(target, wanted) == {name: size for name, size, _ in wanted}


def test_inputs_keep_their_order_and_what_leads_nowhere_is_left_alone(tmp_path: Path):
    (tmp_path / "z").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "z" / "1.txt").write_text("1")
    (tmp_path / "a" / "2.txt").write_text("2")
    gone = str(tmp_path / "gone.txt")
    values = {"data": {"kind": "text", "path": [str(tmp_path / "z" / "1.txt"), str(tmp_path / "a" / "2.txt"), gone]}}
    (one,) = find_inputs(values)
    assert (one.source, one.names) == (tmp_path, ("a/2.txt", "z/1.txt"))
    there = moved(values, [one], "/there")["data"]["path"]
    assert there == [f"/there/{one.key}/z/1.txt", f"/there/{one.key}/a/2.txt", gone]


WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)


@settings(max_examples=25)
@given(st.lists(WORDS, max_size=4))
def test_words_come_through_a_login_shell_as_they_were(words):
    shell = ["sh", "-c", for_login_shell(["printf", "%s\\0", "first", *words])]
    answer = run_to_end(Here().start(shell), timeout_s=20)
    assert answer.out.split(b"\0")[:-1] == [word.encode() for word in ["first", *words]]


@given(WORDS)
def test_the_login_shell_itself_reads_nothing_that_any_shell_could_mistake(word):
    around, inside = 'eval "$(printf %b "', '")"'
    text = for_login_shell([word]).removeprefix("sh -c '").removesuffix("'")
    coded = text.removeprefix(around).removesuffix(inside)
    assert text == around + coded + inside
    assert set(coded.encode()) <= PLAIN | set(b"\\")


def test_setup_lines_run_first_and_can_neither_print_nor_read_nor_end_in_silence():
    echo = with_setup(["echo noise; cat; export FROM=setup"], ["sh", "-c", 'echo "$FROM $1"; cat', "sh", "a; b"])
    answer = run_to_end(Here().start(echo), stdin=b"data", timeout_s=20)
    assert (answer.code, answer.out, answer.err) == (0, b"setup a; b\ndata", "noise")
    failing = run_to_end(Here().start(with_setup(["false", "echo on"], ["echo", "never"])), timeout_s=20)
    assert (failing.code, failing.out) == (1, b"")
